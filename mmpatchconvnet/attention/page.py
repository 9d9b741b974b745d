"""One page to look at maps: pictures and maps are in the file, it loads nothing."""

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmpatchconvnet.attention.map import Attention, brightest
from mmpatchconvnet.inference.outputs import printable
from mmpatchconvnet.visualization.heat_maps import COLORS

TEMPLATE = Path(__file__).with_name('page.html')
LONGEST_SIDE = 1024  # pixels of a picture on the page
MOST_CLASSES = 20  # whose maps are on the page: the highest scores, and those chosen


class PageWriter:
    """Writes a page, one picture at a time; a context manager.

    An unfinished page has another name, so that an earlier one stays until the end.

    Args:
        path: The .html file to write.
        warning: A line at the top of the page.
    """

    def __init__(self, path: Path, warning: str = '') -> None:
        self.path, self.partial = path, path.with_name(f'.{path.name}.partial')
        colors = np.round(255 * COLORS(range(256))[:, :3]).astype(int).tolist()
        page = TEMPLATE.read_text('utf-8').replace('/*COLORS*/', to_script(colors))
        page = page.replace('/*WARNING*/', to_script(warning))
        self.start, self.end = page.split('/*PICTURES*/')

    def __enter__(self) -> 'PageWriter':
        self.file = self.partial.open('w', encoding='utf-8')
        self.file.write(self.start)
        return self

    def add(self, found: Attention) -> None:
        """Add the maps of a picture."""
        self.file.write(to_script(to_page(found)) + ',\n')

    def __exit__(self, *error: Any) -> None:
        """Finish the page, after an error or Ctrl-C with what it has until then."""
        self.file.write(self.end)
        self.file.close()
        self.partial.replace(self.path)


def to_page(found: Attention) -> dict[str, Any]:
    """What the page shows of a picture; places are shares of its width and height."""
    height, width = found.placement.shape
    size = np.array([width, height, width, height])
    first, predicted = 0, ''
    if found.labels is None:
        maps = [_map_of(found, None)]
    else:
        best = np.argsort(-found.scores, kind='stable')[:MOST_CLASSES]
        shown = {*best.tolist(), *found.labels.tolist()}
        labels = sorted(shown, key=lambda label: -found.scores[label])
        maps = [_map_of(found, label) for label in labels]
        first = labels.index(int(found.labels[0]))
    if found.scores.size:
        label = int(found.scores.argmax())
        predicted = printable(found.classes[label])
        predicted += f' (score {found.scores[label]:.2f})'
    rows, columns = found.placement.cells
    return dict(
        file=printable(found.file),
        predicted=predicted,
        width=width,
        height=height,
        shown=to_jpeg(found.image),
        grid=np.round(found.placement.grid / size, 6).tolist(),
        seen=np.round(found.placement.box / size, 6).tolist(),
        rows=rows,
        columns=columns,
        first=first,
        maps=maps,
    )


def _map_of(found: Attention, label: int | None) -> dict[str, Any]:
    """The map of a class, or of the single token."""
    if label is None:
        name = short = 'class token'
        score, cells, spread = None, found.raw, found.entropy
    else:
        name, score = printable(found.classes[label]), float(found.scores[label])
        short = printable(found.short_name(label))
        cells, spread = found.raw[label], found.entropy[label]
    return dict(
        name=name,
        short=short,
        score=score and round(score, 4),
        entropy=round(float(spread), 3),
        brightest=float(f'{brightest(cells):.4g}'),
        weights=[float(f'{weight:.4g}') for weight in cells.ravel()],
    )


def to_jpeg(image: np.ndarray) -> str:
    """A picture (H, W, 3) BGR as a data URL, scaled down to `LONGEST_SIDE`."""
    scale = LONGEST_SIDE / max(image.shape[:2])
    if scale < 1:
        height, width = (max(1, round(scale * side)) for side in image.shape[:2])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 88])
    return f'data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}'


def to_script(value: Any) -> str:
    """JSON within a script, which "</script>" in a name would end."""
    return json.dumps(value).replace('<', '\\u003c')
