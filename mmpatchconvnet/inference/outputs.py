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
that are not UTF-8 are written as an escape, such as `\\udce4`.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from PIL import Image

from mmpatchconvnet.inference.results import (
    Classification,
    Detection,
    Result,
    Segmentation,
)
from mmpatchconvnet.mask_crops import to_rle
from mmpatchconvnet.visualization.sheets import (
    SheetRow,
    class_colors,
    draw_prediction,
    save_image,
)

Array = np.ndarray
ENCODING: dict[str, Any] = dict(encoding='utf-8', errors='backslashreplace')
COLUMNS: dict[type[Result], str] = {
    Classification: 'file class score',
    Segmentation: 'file class area share mean_intensity',
    Detection: 'file class score x1 y1 x2 y2 area centroid_x centroid_y mean_intensity',
}


class Writer:
    """Writes results to a folder; a context manager.

    Args:
        folder: Made if it does not exist. Files of an earlier run are replaced.
        palette: RGB 0..255 of every class; None chooses colours.
        draw: Write `pictures/`.
    """

    def __init__(
        self,
        folder: Path,
        palette: Sequence[Sequence[int]] | None = None,
        draw: bool = True,
    ) -> None:
        self.folder, self.palette, self.draw = folder, palette, draw
        self.images: list[dict] = []  # the entries of dataset.json
        self.classes: Sequence[str] = ()
        self.kind: type[Result] | None = None

    def __enter__(self) -> 'Writer':
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.joinpath('dataset.json').unlink(missing_ok=True)
        self.stack = ExitStack()
        csv_file = self.folder.joinpath('objects.csv').open('w', newline='', **ENCODING)
        self.table = csv.writer(self.stack.enter_context(csv_file))
        lines = json_lines(self.folder / 'predictions.json')
        self.predictions = self.stack.enter_context(lines)
        return self

    def __exit__(self, *error: Any) -> None:
        self.stack.close()
        if self.kind is Detection:
            categories = [
                dict(id=number, name=name)
                for number, name in enumerate(self.classes, 1)
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
            name: A path without a meaning, such as `day 1/a.tif`, that no other picture
                has; it names the files of this one.
        """
        if self.kind is None:
            self.kind = type(result)
            self.table.writerow(COLUMNS[self.kind].split())
        self.classes = with_all_names(result, self.classes or result.classes)
        if isinstance(result, Classification):
            self._add_class(result)
        elif isinstance(result, Segmentation):
            self._add_label_map(result, name)
        elif isinstance(result, Detection):
            self._add_objects(result)
        if self.draw:
            path = self.folder / 'pictures' / f'{name}.jpg'
            path.parent.mkdir(parents=True, exist_ok=True)
            row = SheetRow(
                cv2.cvtColor(result.image, cv2.COLOR_BGR2RGB),
                to_sample(result),
                Path(result.file).name.encode(**ENCODING).decode(),
            )
            save_image(path, draw_prediction(row, self.classes, self.palette))

    def _add_class(self, result: Classification) -> None:
        score = round(float(result.scores[result.label]), 4)
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
        labels = result.label_map.ravel()
        areas = np.bincount(labels)
        totals = np.bincount(labels, result.intensity.ravel())
        shares = {}
        for label in np.flatnonzero(areas):
            area, share = int(areas[label]), round(areas[label] / labels.size, 4)
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
    """The classes, told apart.

    Labels that have no name are called `class N`. If several classes have a name, their
    numbers are added to it from the second on: ImageNet has `crane` and `crane (517)`.
    """
    found: Any = getattr(result, 'labels', getattr(result, 'label_map', None))
    if isinstance(result, Classification):
        count = len(result.scores)
    else:
        count = int(found.max()) + 1 if found.size else 0
    names = [*classes, *(f'class {label}' for label in range(len(classes), count))]
    first: dict[str, int] = {}
    return [
        name if first.setdefault(name, label) == label else f'{name} ({label})'
        for label, name in enumerate(names)
    ]


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


def _rounded(values: Any, digits: int) -> Any:
    """Numbers of Python, rounded."""
    return np.round(np.asarray(values, np.float64), digits).tolist()
