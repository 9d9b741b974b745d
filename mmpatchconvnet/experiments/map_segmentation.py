"""Maps of classes as label maps: segmentation that was learned from names alone.

It is the first step of weakly supervised segmentation, the seeds; see Zhou et al. 2016,
https://arxiv.org/abs/1512.04150, and Kolesnikov and Lampert 2016,
https://arxiv.org/abs/1603.06098.
"""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np

from mmpatchconvnet.experiments.faithfulness import (
    origin_of,
    over_seeds,
    readable,
    software,
)
from mmpatchconvnet.experiments.object_masks import ObjectMasks
from mmpatchconvnet.experiments.rows import Row
from mmpatchconvnet.experiments.saliency import Explainer
from mmpatchconvnet.experiments.tables import markdown

Array = np.ndarray
THRESHOLDS = np.linspace(0.05, 0.95, 19).round(2)
TUNING = 200  # training pictures by which a threshold is chosen
PRESENT = 0.5  # the score of a class that is predicted
TRUE, PREDICTED = LABELS = ('true', 'predicted')


def label_map(maps: Array, labels: Array, threshold: float) -> Array:
    """The class of each pixel: that of the largest map, 0 below the threshold.

    Args:
        maps: (L, H, W), 0 or more; each is divided by its largest value.
        labels: The classes of the maps, (L,), from 0; L may be 0.
        threshold: 0..1.

    Returns:
        (H, W): 0 for the background, then the classes from 1.

    Example:
        >>> maps = np.array([[[4, 1]], [[3, 9]]])
        >>> label_map(maps, np.array([2, 5]), 0.5).tolist()
        [[3, 6]]
    """
    if not len(maps):
        return np.zeros(maps.shape[1:], np.int64)
    values = maps / maps.max((1, 2), keepdims=True)
    found = labels[values.argmax(0)] + 1
    return np.where(values.max(0) >= threshold, found, 0)


def confusion(truth: Array, found: Array, count: int) -> Array:
    """How many pixels of each true class (rows) were found as each (columns)."""
    pairs = np.bincount((truth * count + found).ravel(), minlength=count * count)
    return pairs.reshape(count, count)


def mean_iou(pixels: Array) -> float:
    """The mean over classes of intersection over union, in percent.

    Args:
        pixels: Of `confusion`. Classes that occur nowhere are left out.

    Example:
        >>> mean_iou(np.array([[2, 1], [0, 1]])).__round__(2)
        58.33
    """
    both = np.diag(pixels)
    union = pixels.sum(0) + pixels.sum(1) - both
    return float(100 * (both[union > 0] / union[union > 0]).mean())


def confusions(
    explainer: Explainer, folder: Path, masks_file: Path, limit: int | None = None
) -> dict[tuple[str, str], Array]:
    """Pixels of each true class that were found as each, for all thresholds.

    Args:
        explainer: The model.
        folder: Its pictures.
        masks_file: A COCO file with masks of everything in them.
        limit: Use only the first pictures.

    Returns:
        By method and by `LABELS`: (thresholds, K + 1, K + 1).
    """
    masks = ObjectMasks(masks_file, explainer.classes)
    count = len(explainer.classes) + 1
    shape = len(THRESHOLDS), count, count
    pixels = {
        (method, which): np.zeros(shape, np.int64)
        for method in explainer.methods
        for which in LABELS
    }
    random = np.random.default_rng(0)
    for picture in islice(readable(folder), limit):
        objects = masks.of(picture)
        truth = (objects * np.arange(1, count)[:, None, None]).max(0)
        explained = explainer(picture, all_labels, random)
        chosen = {
            TRUE: np.flatnonzero(objects.any((1, 2))),
            PREDICTED: np.flatnonzero(explained.scores >= PRESENT),
        }
        for method in explainer.methods:
            maps = explained.over_picture(method)
            for which, labels in chosen.items():
                for index, threshold in enumerate(THRESHOLDS):
                    found = label_map(maps[labels], labels, threshold)
                    pixels[method, which][index] += confusion(truth, found, count)
    return pixels


def all_labels(scores: Array) -> Array:
    """Every class."""
    return np.arange(len(scores))


def measure_segmentation(work_dir: Path, data_root: Path, command: str) -> list[Row]:
    """Segment pictures by the maps of a classifier: a row for each method and `LABELS`.

    The threshold of a row is the best one on training pictures.

    Args:
        work_dir: The work dir of a training with labels of pictures.
        data_root: Holds `images/{train,val}` and, with masks of everything in these,
            `annotations/instances_{train,val}.json`.
        command: How this was called, for the rows.

    Raises:
        ImportError: The package `grad-cam` is missing.
        ValueError: The model, a picture or a file cannot be read.
    """
    explainer = Explainer(work_dir)
    train, val = (
        confusions(
            explainer,
            data_root / 'images' / split,
            data_root / f'annotations/instances_{split}.json',
            limit,
        )
        for split, limit in (('train', TUNING), ('val', None))
    )
    best = {key: int(np.argmax([*map(mean_iou, train[key])])) for key in train}
    return [
        {
            **origin_of(work_dir),
            'pooling': explainer.pooling,
            'map': method,
            'labels': which,
            'threshold': f'{THRESHOLDS[index]:g}',
            'mIoU': f'{mean_iou(val[method, which][index]):.2f}',
            **software(),
            'command': command,
        }
        for (method, which), index in best.items()
    ]


def draw_segmentation(rows: Iterable[Row]) -> str:
    """Rows as a Markdown table with mean and standard deviation over seeds."""
    groups: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for row in rows:
        runs = groups.setdefault((row['pooling'], row['map']), {})
        runs.setdefault(row['labels'], []).append(row)
    lines = [
        [
            *names,
            *(over_seeds(runs.get(which, []), 'mIoU') for which in LABELS),
            str(max(map(len, runs.values()))),
        ]
        for names, runs in groups.items()
    ]
    titles = [f'mIoU with {which} labels' for which in LABELS]
    return markdown(['pooling', 'map', *titles, 'seeds'], lines)
