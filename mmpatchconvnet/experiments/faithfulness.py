"""Whether maps say what a classifier needs: measured against masks and by its scores.

Papers: pointing game, Zhang et al. 2016, https://arxiv.org/abs/1608.00507; insertion
and deletion, Petsiuk et al. 2018, https://arxiv.org/abs/1806.07421.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from mmpatchconvnet.compat.processor import cpu_name
from mmpatchconvnet.config_files import read_config
from mmpatchconvnet.engine.provenance import CLONE, git_state, short_commit
from mmpatchconvnet.experiments.object_masks import ObjectMasks
from mmpatchconvnet.experiments.rows import Row
from mmpatchconvnet.experiments.saliency import RANDOM, Explained, Explainer
from mmpatchconvnet.experiments.scores import mean_and_deviation
from mmpatchconvnet.experiments.tables import markdown
from mmpatchconvnet.inference.model_files import config_and_checkpoint
from mmpatchconvnet.inference.pictures import Picture, PictureError
from mmpatchconvnet.inference.sources import open_source

Array = np.ndarray
STEPS = 16  # of a curve, each of an equal share of the pixels
# Standard deviation of the blur, as a part of the picture's side: as wide as a cell of
# the small pictures here, so that little but broad areas of colour is left.
BLUR = 1 / 8
# Columns of a row that hold numbers -> their titles in a table.
SCORES = {
    'share of class': 'in the class, %',
    'share of things': 'in any thing, %',
    'pointing class': 'peak in the class, %',
    'pointing things': 'peak in any thing, %',
    'insertion': 'insertion, %',
    'deletion': 'deletion, %',
}


def share_inside(maps: Array, masks: Array) -> Array:
    """The share of each map that lies inside its mask, 0..1.

    Args:
        maps: (L, H, W), 0 or more; the share of a map of zeros is 0.
        masks: (L, H, W) bool.

    Example:
        >>> maps = np.array([[[3, 1], [0, 0]]])
        >>> share_inside(maps, maps > 1)
        array([0.75])
    """
    total = maps.sum((1, 2))
    return (maps * masks).sum((1, 2)) / np.where(total > 0, total, 1)


def points_inside(maps: Array, masks: Array) -> Array:
    """Whether the largest value of each map, the first of equal ones, is in its mask.

    Args:
        maps: (L, H, W).
        masks: (L, H, W) bool.

    Returns:
        (L,) bool.
    """
    count = len(maps)
    peaks = maps.reshape(count, -1).argmax(1)
    return masks.reshape(count, -1)[np.arange(count), peaks]


def curve(
    scores: Callable[[Tensor], Array],
    start: Tensor,
    end: Tensor,
    order: Array,
    steps: int = STEPS,
) -> Array:
    """Scores while the pixels of one picture become those of another.

    Args:
        scores: From inputs (B, 3, H, W) to (B,), the score of one class in 0..1.
        start: The first picture, (1, 3, H, W).
        end: The last picture.
        order: (H, W): the pixels with the largest values come first.
        steps: In how many equal parts.

    Returns:
        (steps + 1,): at the start, then after each part.
    """
    rank = np.empty(order.size, np.int64)
    rank[np.argsort(-order, axis=None, kind='stable')] = np.arange(order.size)
    rank = rank.reshape(order.shape) * steps // order.size  # the part of each pixel
    done = rank[None] < np.arange(steps + 1)[:, None, None]
    changed = torch.from_numpy(done)[:, None].to(start.device)
    return scores(torch.where(changed, end, start))


def area(scores: Array) -> float:
    """The area under a curve over 0..1, by trapezoids.

    Example:
        >>> area(np.array([0, 1, 1]))
        0.75
    """
    return float((scores[1:] + scores[:-1]).mean() / 2)


def blurred(inputs: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) of which little but broad areas of colour is left."""
    sigma = BLUR * max(inputs.shape[-2:])
    reach = min(int(2 * sigma), min(inputs.shape[-2:]) - 1)
    return gaussian_blur(inputs, 2 * reach + 1, sigma)


def measure(
    work_dir: Path,
    pictures: Path,
    masks_file: Path | None = None,
    every: int = 1,
    command: str = '',
) -> list[Row]:
    """Measure all methods of a trained classifier: a row for each.

    With masks the maps are those of all classes that a picture shows; without, those of
    the class with the highest score.

    Args:
        work_dir: The work dir of its training.
        pictures: A folder of pictures, which may be in folders.
        masks_file: A COCO file with masks of everything in the pictures.
        every: Use each `every`-th picture, to save time.
        command: How this was called, for the rows.

    Raises:
        ImportError: The package `grad-cam` is missing.
        ValueError: The model, a picture or the file cannot be read, the masks show no
            class of the model, or `every` is not positive.
    """
    if every < 1:
        raise ValueError(f'every is {every}: give 1 or more.')
    explainer = Explainer(work_dir)
    masks = masks_file and ObjectMasks(masks_file, explainer.classes)
    found: dict[str, list[dict[str, Array]]] = {name: [] for name in explainer.methods}
    random, count = np.random.default_rng(0), 0
    for picture in islice(readable(pictures), 0, None, every):
        objects = masks.of(picture) if masks else None
        if objects is not None and not objects.any():
            continue
        explained = explainer(picture, labels_by(objects), random)
        count += 1
        for method, values in found.items():
            values.append(curves_of(explainer, explained, method))
            if objects is not None:
                values[-1] |= places_of(explained, method, objects)
    if not count:
        raise ValueError(
            f'{masks_file} has no mask in these pictures: give the annotations of '
            f'{pictures}.'
        )
    return [
        {
            **origin_of(work_dir),
            'pooling': explainer.pooling,
            'map': method,
            'pictures': str(count),
            'maps': str(sum(len(one['insertion curve']) for one in values)),
            **summary(values),
            **software(),
            'command': command,
        }
        for method, values in found.items()
    ]


def readable(folder: Path) -> Iterator[Picture]:
    """The pictures of a folder; one that cannot be read is an error."""
    for picture in open_source(folder, recursive=True):
        if isinstance(picture, PictureError):
            raise picture
        yield picture


def labels_by(objects: Array | None) -> Callable[[Array], Array]:
    """Chooses the classes that have pixels, or else the one with the highest score."""

    def choose(scores: Array) -> Array:
        if objects is None:
            return np.array([scores.argmax()])
        return np.flatnonzero(objects.any((1, 2)))

    return choose


def places_of(explained: Explained, method: str, objects: Array) -> dict[str, Array]:
    """Where the maps of a picture lie, (L,) each.

    Args:
        explained: The maps.
        method: Which of them; of the random one, shares are those of a uniform map.
        objects: The pixels of each class, (K, H, W) bool.
    """
    maps = explained.over_picture(method)
    weights = maps if method != RANDOM else (maps > 0).astype(np.float32)
    mine = objects[explained.labels]
    things = np.broadcast_to(objects.any(0), mine.shape)
    return {
        'share of class': share_inside(weights, mine),
        'share of things': share_inside(weights, things),
        'pointing class': points_inside(maps, mine),
        'pointing things': points_inside(maps, things),
    }


def curves_of(
    explainer: Explainer, explained: Explained, method: str
) -> dict[str, Array]:
    """Insertion and deletion curves of the maps of a picture, (L, STEPS + 1) each."""
    orders, inputs = explained.over_input(method), explained.inputs
    dim, empty = blurred(inputs), torch.zeros_like(inputs)  # the mean colour
    insertion, deletion = [], []
    for label, order in zip(explained.labels, orders, strict=True):

        def scores(batch: Tensor, label: int = label) -> Array:
            return explainer.scores(batch)[:, label]

        insertion.append(curve(scores, dim, inputs, order))
        deletion.append(curve(scores, inputs, empty, order))
    return {
        'insertion curve': np.stack(insertion),
        'deletion curve': np.stack(deletion),
    }


def summary(values: list[dict[str, Array]]) -> dict[str, str]:
    """Means over all maps, in percent; '' for what was not measured."""
    columns = {
        name: 100 * np.concatenate([one[name] for one in values]).mean(0)
        for name in values[0]
    }
    for name in ('insertion', 'deletion'):
        columns[name] = area(columns[f'{name} curve'])
    shown = {name: f'{columns[name]:.2f}' if name in columns else '' for name in SCORES}
    for name in ('insertion curve', 'deletion curve'):
        shown[name] = ' '.join(f'{value:.1f}' for value in columns[name])
    return shown


def origin_of(work_dir: Path) -> dict[str, str]:
    """Config, data and seed of a training."""
    config, _ = config_and_checkpoint(work_dir, None)
    name = Path(config).stem
    seed = (read_config(config).get('randomness') or {}).get('seed')
    return {
        'data': name.rpartition('_')[2],  # TASK_MODEL_DATA.py
        'config': name,
        'seed': '' if seed is None else str(seed),
    }


def software() -> dict[str, str]:
    """What a row was measured with."""
    on_gpu = torch.cuda.is_available()
    return {
        'device': torch.cuda.get_device_name() if on_gpu else cpu_name(),
        'threads': str(torch.get_num_threads()),
        'torch': version('torch'),
        'grad-cam': version('grad-cam'),
        'commit': short_commit(git_state(CLONE)),
        'date': time.strftime('%Y-%m-%d'),
    }


def draw_faithfulness(rows: Iterable[Row]) -> str:
    """Rows as a Markdown table with mean and standard deviation over seeds."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row['pooling'], row['map']), []).append(row)
    lines = [
        [*names, *(over_seeds(runs, column) for column in SCORES), str(len(runs))]
        for names, runs in groups.items()
    ]
    return markdown(['pooling', 'map', *SCORES.values(), 'seeds'], lines)


def over_seeds(rows: Iterable[Row], column: str) -> str:
    """Mean and standard deviation of a column; '' if it is empty."""
    return mean_and_deviation([float(row[column]) for row in rows if row[column]])
