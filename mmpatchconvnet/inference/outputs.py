"""The files that `mmpatchconvnet predict` writes, one picture at a time.

- `objects.csv`: a table of what was found, for a spreadsheet.
- `predictions.json`: for detectors in COCO's format of results, which pycocotools reads
  after `dataset.json`; for the others a list with one line for each picture.
- `dataset.json`: of detectors, the pictures and the classes in COCO's format. The id of
  a picture is its place in the run, from 1; the id of a class is its label + 1.
- `label_maps/`: of segmentors, PNG files in the colours of the data set, whose values
  are the classes.
- `pictures/`: the pictures with what was found drawn over them.

After an error or Ctrl-C the files hold what was found until then. Bytes of a file name
that are not UTF-8 are written as an escape, such as `\\udce4`. `objects.csv` begins
with a byte order mark, without which Excel misreads letters such as `ü`.
"""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np
import pycocotools.mask
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from PIL import Image

from mmpatchconvnet.inference.results import (
    Classification,
    Detection,
    Result,
    Segmentation,
    tell_apart,
)
from mmpatchconvnet.mask_crops import MaskCrop
from mmpatchconvnet.visualization.sheets import (
    SheetRow,
    class_colors,
    draw_prediction,
    save_image,
)

Array = np.ndarray
ENCODING: dict[str, Any] = dict(encoding='utf-8', errors='backslashreplace')
OUTPUTS = ('objects.csv', 'predictions.json', 'dataset.json', 'label_maps', 'pictures')
LONGEST_NAME = 200  # bytes; file systems take 255, and endings are added
COLUMNS: dict[type[Result], str] = {
    Classification: 'file class score',
    Segmentation: 'file class area share mean_intensity',
    Detection: 'file class score x1 y1 x2 y2 area centroid_x centroid_y mean_intensity',
}


class Writer:
    """Writes results to a folder; a context manager.

    Nothing is written before the first result.

    Args:
        folder: Made if it does not exist.
        kind: The class of the results.
        classes: The name of every class.
        palette: RGB 0..255 of every class; None chooses colours.
        draw: Write `pictures/`.
    """

    def __init__(
        self,
        folder: Path,
        kind: type[Result],
        classes: Sequence[str],
        palette: Sequence[Sequence[int]] | None = None,
        draw: bool = True,
    ) -> None:
        self.folder, self.kind, self.classes = folder, kind, classes
        self.palette, self.draw = palette, draw
        self.images: list[dict] = []  # the entries of dataset.json
        self.count = 0
        self.stack = ExitStack()

    def __enter__(self) -> 'Writer':
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        # Without a result, earlier ones stay.
        if kind is None and not (self.folder / 'objects.csv').exists():
            self._open()
        self.stack.close()

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.joinpath('dataset.json').unlink(missing_ok=True)
        settings = ENCODING | dict(encoding='utf-8-sig')
        csv_file = self.folder.joinpath('objects.csv').open('w', newline='', **settings)
        self.table = csv.writer(self.stack.enter_context(csv_file))
        self.table.writerow(COLUMNS[self.kind].split())
        lines = json_lines(self.folder / 'predictions.json')
        self.predictions = self.stack.enter_context(lines)
        if self.kind is Detection:
            self.stack.callback(self._write_dataset)

    def _write_dataset(self) -> None:
        categories = [
            dict(id=number, name=name) for number, name in enumerate(self.classes, 1)
        ]
        dataset = dict(
            info={}, images=self.images, annotations=[], categories=categories
        )
        path = self.folder / 'dataset.json'
        path.write_text(json.dumps(dataset, ensure_ascii=False), **ENCODING)

    def add(self, result: Result, name: str) -> None:
        """Write the result of a picture.

        Args:
            result: What was found.
            name: A relative path, such as `day 1/a.tif`, that no other picture has; the
                files of this picture are named after it.
        """
        if not self.count:
            self._open()
        self.count += 1
        name = shorten_name(name, self.count)
        self.classes = with_all_names(result, self.classes)
        if self.draw:
            self._draw(result, name)
        if isinstance(result, Classification):
            self._add_class(result)
        elif isinstance(result, Segmentation):
            self._add_label_map(result, name)
        elif isinstance(result, Detection):
            self._add_objects(result)

    def _draw(self, result: Result, name: str) -> None:
        path = self.folder / 'pictures' / f'{name}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        row = SheetRow(
            cv2.cvtColor(result.image, cv2.COLOR_BGR2RGB),
            to_sample(result),
            printable(Path(result.file).name),
        )
        save_image(path, draw_prediction(row, self.classes, self.palette))

    def _add_class(self, result: Classification) -> None:
        score = _rounded(result.scores[result.label], 4)
        name = self.classes[result.label]
        self.table.writerow([result.file, name, score])
        scores = dict(zip(self.classes, _rounded(result.scores, 4), strict=False))
        self.predictions.add(
            {'file': result.file, 'class': name, 'score': score, 'scores': scores}
        )

    def _add_label_map(self, result: Segmentation, name: str) -> None:
        relative = f'label_maps/{name}.png'
        path = self.folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        save_label_map(path, result.label_map, self.classes, self.palette)
        areas, totals = sums_by_label(result, len(self.classes))
        shares = {}
        for label in np.flatnonzero(areas):
            area = int(areas[label])
            share = round(area / result.label_map.size, 4)
            shares[self.classes[label]] = share
            mean = _rounded(totals[label] / area, 2)
            row = result.file, self.classes[label], area, share, mean
            self.table.writerow(row)
        self.predictions.add(
            {'file': result.file, 'label_map': relative, 'shares': shares}
        )

    def _add_objects(self, result: Detection) -> None:
        height, width = result.image.shape[:2]
        number = len(self.images) + 1
        size = dict(height=height, width=width)
        self.images.append(dict(id=number, file_name=result.file, **size))
        for index, label in enumerate(result.labels):
            score = round(float(result.scores[index]), 4)
            x1, y1, x2, y2 = box = _rounded(result.boxes[index], 2)
            measured = measure(result, index)
            self.table.writerow(
                [result.file, self.classes[label], score, *box, *measured]
            )
            entry = dict(
                image_id=number,
                category_id=int(label) + 1,
                bbox=_rounded(np.array([x1, y1, x2 - x1, y2 - y1]), 2),
                score=score,
                file_name=result.file,
            )
            if result.crops is not None:
                entry['segmentation'] = to_rle(result.crops[index], (height, width))
            self.predictions.add(entry)


def sums_by_label(result: Segmentation, count: int) -> tuple[Array, Array]:
    """The number of pixels of each class and the sum of their intensities, (count,)."""
    areas, totals = np.zeros(count, np.int64), np.zeros(count)
    # By lines, as bincount makes copies of 64 bits.
    for labels, values in zip(result.label_map, result.intensity, strict=True):
        areas += np.bincount(labels, minlength=count)
        totals += np.bincount(labels, values, minlength=count)
    return areas, totals


def measure(result: Detection, index: int) -> list[float | None]:
    """Area in pixels, centroid x and y, and mean intensity of an object.

    The pixels are those of its mask, or of its box if there is no mask. Centroids count
    from the centre of the first pixel, as in `skimage.measure.regionprops`. Without
    pixels, all but the area are None.
    """
    if result.crops is not None:
        x, y = result.crops[index].x, result.crops[index].y
        inside = result.crops[index].mask
    else:
        height, width = result.intensity.shape
        limits = np.array([width, height, width, height])
        x, y, right, bottom = result.boxes[index].round().clip(0, limits).astype(int)
        inside = np.ones((max(0, bottom - y), max(0, right - x)), bool)
    rows, columns = np.nonzero(inside)
    if not len(rows):
        return [0, None, None, None]
    mean = result.intensity[y + rows, x + columns].mean()
    centroid = x + columns.mean(), y + rows.mean()
    return [len(rows), *_rounded(np.array([*centroid, mean]), 2)]


def to_rle(crop: MaskCrop, shape: tuple[int, int]) -> dict[str, Any]:
    """The mask as COCO's run-length encoding, `counts` as text, for JSON.

    Args:
        crop: The mask.
        shape: Height and width of the picture.
    """
    height, width = shape
    # COCO counts pixels down the columns. The columns of the crop are encoded at full
    # height, and the empty ones next to it become part of the first and the last run.
    columns = np.zeros((height, crop.mask.shape[1]), bool)
    columns[crop.y : crop.y + len(crop.mask)] = crop.mask
    pixels = columns.ravel(order='F')
    edges = np.flatnonzero(np.diff(pixels, prepend=False, append=False))
    ends = np.concatenate([edges + crop.x * height, [width * height]])
    counts = np.diff(ends, prepend=0).tolist()
    encoded = pycocotools.mask.frPyObjects(
        dict(size=[height, width], counts=counts), height, width
    )
    return dict(size=[height, width], counts=encoded['counts'].decode())


def save_label_map(
    path: Path,
    label_map: Array,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]] | None,
) -> None:
    """Write classes (H, W) as PNG: with colours, or as 16 bits from 257 classes on."""
    if label_map.dtype != np.uint8:
        Image.fromarray(label_map.astype(np.uint16)).save(path)
        return
    picture = Image.fromarray(label_map)
    picture.putpalette(class_colors(min(len(classes), 256), palette).ravel().tolist())
    picture.save(path)


def with_all_names(result: Result, classes: Sequence[str]) -> list[str]:
    """The classes, told apart, with those that have no name but are in the result."""
    found: Any = getattr(result, 'labels', getattr(result, 'label_map', None))
    if isinstance(result, Classification):
        count = len(result.scores)
    else:
        count = int(found.max()) + 1 if found.size else 0
    return tell_apart(classes, count)


def to_sample(result: Result) -> BaseDataElement:
    """The result as a data sample of the hosts, for the drawing functions."""
    sample = BaseDataElement()
    if isinstance(result, Classification):
        sample.pred_label = torch.tensor([result.label])
        sample.pred_score = torch.from_numpy(result.scores)
    elif isinstance(result, Segmentation):
        sample.pred_sem_seg = PixelData(data=result.label_map[None])
    elif isinstance(result, Detection):
        fields: dict[str, Any] = dict(
            labels=result.labels, scores=result.scores, bboxes=result.boxes
        )
        if result.crops is not None:
            fields['masks'] = result.crops
        sample.pred_instances = InstanceData(**fields)
    return sample


class JsonLines:
    """Writes a JSON list with one line for each item."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.separator = file, '\n'

    def add(self, item: dict) -> None:
        line = json.dumps(item, ensure_ascii=False)
        self.file.write(f'{self.separator}{line}')
        self.separator = ',\n'


@contextmanager
def json_lines(path: Path) -> Iterator[JsonLines]:
    """A list in a file, which is closed whatever happens."""
    with path.open('w', **ENCODING) as file:
        file.write('[')
        try:
            yield JsonLines(file)
        finally:
            file.write('\n]\n')


def printable(name: str) -> str:
    """A file name as text, without bytes that are not UTF-8."""
    return name.encode(**ENCODING).decode()


def shorten_name(name: str, number: int) -> str:
    """The path with a last part that a file system takes with an ending.

    Args:
        name: A relative path.
        number: A number that no other path has.
    """
    path = Path(name)
    encoded = os.fsencode(path.name)
    if len(encoded) <= LONGEST_NAME:
        return name
    start = encoded[:LONGEST_NAME].decode('utf-8', 'ignore')
    return str(path.with_name(f'{start}~{number}'))


def _rounded(values: Any, digits: int) -> Any:
    """Numbers of Python, rounded; None instead of NaN, which JSON does not have."""
    rounded: Any = np.round(np.asarray(values, np.float64), digits)
    if not np.isfinite(rounded).all():
        rounded = np.where(np.isfinite(rounded), rounded, np.array(None))
    return rounded.tolist()
