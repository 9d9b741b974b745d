"""Paint a data sample over its picture: instances, boxes or label maps.

Samples are read by attribute, so samples of mmdet and mmseg both work without importing
either.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import matplotlib
import numpy as np
import pycocotools.mask
import torch
from mmengine.structures import BaseDataElement
from torchvision.utils import draw_bounding_boxes

from mmpatchconvnet.mask_crops import MaskCrop, scale_crop, to_crop
from mmpatchconvnet.visualization.canvas import (
    GREY,
    INK,
    Array,
    Color,
    Text,
    text_width,
)

IGNORED = 255
# With more objects than this, names would hide them.
MAX_LABELS = 25


@dataclass(frozen=True)
class Style:
    """How classes are named and coloured; `colors` is (C, 3) uint8.

    With `by_instance` every object gets a colour of its own instead, and no name.
    """

    classes: Sequence[str]
    colors: Array
    score_threshold: float
    by_instance: bool


@dataclass
class Panel:
    """A painted picture (h, w, 3), the names on it, and the lines below it.

    `shown` holds the visible classes for the legend, and `IGNORED` if a pixel is.
    """

    image: Array
    caption: list[tuple[str, Color]] = field(default_factory=list)
    labels: list[Text] = field(default_factory=list)
    shown: set[int] = field(default_factory=set)


def resize_to(image: Array, box: int) -> Array:
    """The picture (H, W, 3), scaled so that its longer side is `box` pixels."""
    scale = box / max(image.shape[:2])
    height, width = (max(1, round(scale * side)) for side in image.shape[:2])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=how)


def draw_panel(
    image: Array, box: int, sample: BaseDataElement, side: str, style: Style
) -> Panel | None:
    """The picture with one `side` ('gt' or 'pred') of its sample painted over it.

    None if the sample does not have that side.
    """
    picture = resize_to(image, box)
    instances = sample.get(f'{side}_instances')
    if instances is not None and 'labels' in instances:
        if 'scores' in instances:
            instances = instances[instances.scores >= style.score_threshold]
        return _draw_instances(picture, image.shape, instances, style)
    if f'{side}_sem_seg' in sample:
        labels = _label_map(sample, side)
        panel = _draw_label_map(picture, labels, style)
        if side == 'pred' and 'gt_sem_seg' in sample:
            panel.caption = _agreement(labels, _label_map(sample, 'gt'))
        return panel
    return None


def to_array(value: Any) -> Array:
    """A tensor, box object, mask object or array of any host as a numpy array."""
    if hasattr(value, 'to_ndarray'):  # BitmapMasks, PolygonMasks
        return value.to_ndarray()
    value = getattr(value, 'tensor', value)  # HorizontalBoxes
    return value.detach().cpu().numpy() if hasattr(value, 'detach') else value


def instance_colors(count: int) -> Array:
    """`count` vivid colours, (count, 3) uint8; neighbours differ most."""
    steps = np.arange(count)
    hue, value = (0.61803 * steps) % 1, 1 - 0.25 * (steps % 2)
    hsv = np.stack([hue, np.full(count, 0.85), value], axis=-1)
    return np.round(255 * matplotlib.colors.hsv_to_rgb(hsv)).astype(np.uint8)


def check_labels(labels: Array, classes: Sequence[str]) -> None:
    """Raise for labels (N,) without a name."""
    strange = labels[(labels < 0) | (labels >= len(classes))]
    if strange.size:
        raise ValueError(
            f'a sample holds class {strange[0]}, but {len(classes)} classes are named '
            f'(0 to {len(classes) - 1}): give draw_sheet the classes of the data set'
        )


# ------------------------------------------------------------------------ instances


def _draw_instances(
    picture: Array, shape: Sequence[int], instances: Any, style: Style
) -> Panel:
    """Objects given in pixels of an image of `shape`, painted over its picture."""
    labels = to_array(instances.labels)
    check_labels(labels, style.classes)
    count = len(labels)
    colors = instance_colors(count) if style.by_instance else style.colors[labels]
    scale = max(picture.shape[:2]) / max(shape[:2])
    if 'masks' in instances:
        crops = [scale_crop(crop, scale) for crop in to_crops(instances.masks)]
        spots = [_innermost(crop) for crop in crops]
        painted = _paint_masks(picture, crops, colors)
    else:
        corners = np.round(scale * to_array(instances.bboxes)).reshape(-1, 2, 2)
        # Some heads predict boxes with swapped corners.
        boxes = np.sort(corners.astype(int), axis=1).reshape(-1, 4)
        spots = [((left + right) // 2, top) for left, top, right, _ in boxes.tolist()]
        painted = _draw_boxes(picture, boxes, colors)
    caption = f'{count} object' + ('' if count == 1 else 's')
    if count and 'scores' in instances:
        scores = to_array(instances.scores)
        caption += f', scores from {scores.min():.2f} to {scores.max():.2f}'
    panel = Panel(painted, [(caption, GREY)], shown=set(labels.tolist()))
    if not style.by_instance and count <= MAX_LABELS:
        names = _names(labels, instances, style.classes)
        panel.labels = separate_tags(
            _name_tag(name, spot, color, picture.shape[1])
            for name, spot, color in zip(names, spots, colors, strict=True)
        )
    return panel


def _names(labels: Array, instances: Any, classes: Sequence[str]) -> list[str]:
    names = [classes[label] for label in labels]
    if 'scores' not in instances:
        return names
    scores = to_array(instances.scores)
    return [f'{name} {score:.2f}' for name, score in zip(names, scores, strict=True)]


def _name_tag(name: str, spot: tuple[int, int], color: Array, width: int) -> Text:
    """A name at a spot (x, y), inside the picture, readable on its colour."""
    red, green, blue = (float(channel) / 255 for channel in color)
    bright = 0.3 * red + 0.59 * green + 0.11 * blue > 0.58
    room = text_width(name, 10)
    return Text(
        x=max(3, min(spot[0] - room / 2, width - room - 3)),
        y=max(9, spot[1]),
        text=name,
        size=10,
        color=INK if bright else (1, 1, 1),
        background=(red, green, blue),
    )


def separate_tags(tags: Iterable[Text]) -> list[Text]:
    """Tags, each moved down until it covers no earlier one."""
    placed: list[Text] = []
    for tag in tags:
        while covered := next((one for one in placed if _overlap(tag, one)), None):
            tag = replace(tag, y=covered.y + 1.5 * tag.size)
        placed.append(tag)
    return placed


def _overlap(tag: Text, other: Text) -> bool:
    left, right = sorted((tag, other), key=lambda text: text.x)
    separate = left.x + text_width(left.text, left.size) + 4 <= right.x
    # Slightly less than `separate_tags` moves a tag, to allow for rounding.
    return not separate and abs(tag.y - other.y) < 1.49 * tag.size


def _innermost(crop: MaskCrop) -> tuple[int, int]:
    """The pixel (x, y) of a mask that is farthest from its outline."""
    padded = np.pad(crop.mask.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)
    y, x = np.unravel_index(distance.argmax(), distance.shape)
    return crop.x + int(x) - 1, crop.y + int(y) - 1


def to_crops(masks: Any) -> list[MaskCrop]:
    """Masks of any host, or crops, as crops."""
    if isinstance(masks, list):  # crops, or run-length encodings of large pictures
        return [
            to_crop(pycocotools.mask.decode(one).astype(bool))
            if isinstance(one, dict)
            else one
            for one in masks
        ]
    return [to_crop(mask.astype(bool)) for mask in to_array(masks)]


def _paint_masks(picture: Array, crops: Sequence[MaskCrop], colors: Array) -> Array:
    # Large ones first, so that no object hides a smaller one.
    order = sorted(range(len(crops)), key=lambda index: -crops[index].area)
    owner = np.full(picture.shape[:2], -1)
    for index in order:
        crop = crops[index]
        height, width = crop.mask.shape
        part = owner[crop.y : crop.y + height, crop.x : crop.x + width]
        part[crop.mask[: part.shape[0], : part.shape[1]]] = index
    painted = _paint_owners(picture, owner, colors)
    thickness = 2 if len(crops) <= MAX_LABELS else 1
    for index in order:
        crop = crops[index]
        outlines, _ = cv2.findContours(
            crop.mask.astype(np.uint8),
            cv2.RETR_CCOMP,
            cv2.CHAIN_APPROX_NONE,
            offset=(crop.x, crop.y),
        )
        color = colors[index].tolist()
        cv2.drawContours(painted, outlines, -1, color, thickness, cv2.LINE_AA)
    return painted


# ----------------------------------------------------------------------- label maps


def _label_map(sample: BaseDataElement, side: str) -> Array:
    """The label map (H, W) of one side."""
    return to_array(sample.get(f'{side}_sem_seg').data).squeeze(0)


def _draw_label_map(picture: Array, labels: Array, style: Style) -> Panel:
    height, width = picture.shape[:2]
    labels = cv2.resize(
        labels.astype(np.int32), (width, height), interpolation=cv2.INTER_NEAREST
    )
    known = labels != IGNORED
    check_labels(labels[known], style.classes)
    painted = _paint_owners(picture, np.where(known, labels, -1), style.colors)
    border = np.zeros_like(known)
    border[1:] |= labels[1:] != labels[:-1]
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    painted[border & known] = 255
    return Panel(painted, shown=set(np.unique(labels).tolist()))


def _agreement(predicted: Array, truth: Array) -> list[tuple[str, Color]]:
    """How many of the labelled pixels are right, as a caption."""
    known = truth != IGNORED
    if predicted.shape != truth.shape or not known.any():
        return []
    share = (predicted == truth)[known].mean()
    return [(f'{share:.0%} of the labelled pixels are right', GREY)]


# -------------------------------------------------------------------------- painting


def _paint_owners(picture: Array, owner: Array, colors: Array) -> Array:
    """Paint each pixel half in the colour of its owner (h, w), an index or -1.

    torchvision would need a full mask of every object.
    """
    painted, owned = picture.copy(), owner >= 0
    painted[owned] = (picture[owned].astype(int) + colors[owner[owned]]) // 2
    return painted


def _draw_boxes(picture: Array, boxes: Array, colors: Array) -> Array:
    """The picture (h, w, 3) with boxes (N, 4)."""
    if not len(boxes):  # torchvision would warn
        return picture.copy()
    drawn = draw_bounding_boxes(
        torch.from_numpy(picture).permute(2, 0, 1),
        torch.from_numpy(boxes),
        colors=list(map(tuple, colors.tolist())),
        width=3,
    )
    return np.ascontiguousarray(drawn.permute(1, 2, 0).numpy())
