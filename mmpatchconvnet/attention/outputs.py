"""The files that `mmpatchconvnet attention` writes, one picture at a time.

- `sheets/`: each picture with its heat maps, as JPEG.
- `maps/`: the raw maps, as `.npz` that NumPy reads without pickles: `maps`, (h, w) or
  (K, h, w), `classes`, (K,) names of the maps or none, `scores`, (C,), `score_names`,
  (C,), `entropy`, as `maps` without (h, w), `size`, height and width of the picture,
  and `grid`, the left, top, right and bottom of a map in pixels of the picture.
- `attention.html`: the page, with `--html`.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmpatchconvnet.attention.map import Attention, brightest
from mmpatchconvnet.attention.page import PageWriter
from mmpatchconvnet.inference.outputs import printable, shorten_name
from mmpatchconvnet.visualization.canvas import save_image
from mmpatchconvnet.visualization.heat_maps import HeatMap, draw_heat_maps

Array = np.ndarray
PAGE = 'attention.html'
OUTPUTS = ('sheets', 'maps', PAGE)
UNTRAINED = 'An untrained pooling, with random weights: its map shows nothing.'


class Writer:
    """Writes maps to a folder; a context manager.

    Args:
        folder: Made if it does not exist.
        html: Write the page too.
        untrained: Say on sheets and page that the maps show nothing.
    """

    def __init__(self, folder: Path, html: bool, untrained: bool) -> None:
        self.folder, self.html = folder, html
        self.warning = UNTRAINED if untrained else ''
        self.page: PageWriter | None = None
        self.count = 0
        self.stack = ExitStack()

    def __enter__(self) -> 'Writer':
        return self

    def __exit__(self, *error: Any) -> None:
        self.stack.close()

    def add(self, found: Attention, name: str) -> None:
        """Write the maps of a picture.

        Args:
            found: The maps.
            name: A relative path, such as `day 1/a.tif`, that no other picture has; the
                files of this picture are named after it.
        """
        if not self.count and not self.html:  # a page of an earlier run is out of date
            (self.folder / PAGE).unlink(missing_ok=True)
        self.count += 1
        name = shorten_name(name, self.count)
        sheet, maps = (
            self.folder / 'sheets' / f'{name}.jpg',
            self.folder / 'maps' / f'{name}.npz',
        )
        for path in (sheet, maps):
            path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(maps, **to_arrays(found))
        save_image(sheet, draw_attention(found, self.warning))
        if self.html:
            if self.page is None:
                page = PageWriter(self.folder / PAGE, self.warning)
                self.page = self.stack.enter_context(page)
            self.page.add(found)


def to_arrays(found: Attention) -> dict[str, Any]:
    """The content of a `.npz` file; see this module."""
    names = [printable(name) for name in found.classes]
    return dict(
        maps=found.raw,
        classes=np.array(names if found.raw.ndim == 3 else [], np.str_),
        scores=found.scores,
        score_names=np.array(names, np.str_),
        entropy=np.array(found.entropy),
        size=np.array(found.placement.shape),
        grid=np.array(found.placement.grid),
    )


def draw_attention(found: Attention, warning: str = '') -> Array:
    """A sheet of a picture: its maps over it, with classes, scores and entropies.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    maps, raw, spread = found.map, found.raw, np.array(found.entropy)
    if found.labels is None:
        maps, raw, spread = maps[None], raw[None], spread[None]
        titles = ['where the class token looks']
    else:
        raw, spread = raw[found.labels], spread[found.labels]
        titles = [_name_of(found, label) for label in found.labels]
    heats = []
    for title, pixels, cells, one in zip(titles, maps, raw, spread, strict=True):
        peak = cells.max() / (cells.mean() or 1)
        line = f'entropy {one:.2f} of 1, peak {peak:.1f} times the mean'
        heats.append(HeatMap(pixels, brightest(cells), (title, line)))
    headline = printable(Path(found.file).name)
    if found.scores.size:
        headline += f', predicted: {_name_of(found, int(found.scores.argmax()))}'
    image = cv2.cvtColor(found.image, cv2.COLOR_BGR2RGB)
    return draw_heat_maps(image, heats, found.placement.box, headline, warning)


def _name_of(found: Attention, label: int) -> str:
    """A short name of a class, with its score."""
    return f'{found.short_name(label)} (score {found.scores[label]:.2f})'
