"""Large pictures in tiles: label maps are averaged, objects merged across the seams.

Neighbouring tiles overlap, and both see their common zone. The logits of a pixel are
averaged there, and two objects are one if their masks agree there.
"""

from collections.abc import Callable, Iterator
from itertools import product
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from mmpatchconvnet.inference.results import Objects
from mmpatchconvnet.mask_crops import MaskCrop, unite

Array = np.ndarray
SAME_OBJECT = 0.5  # share of the smaller mask that the other one covers


class Zone(NamedTuple):
    """A rectangle of pixels; `right` and `bottom` are the first ones outside."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        """0 if it is empty."""
        return max(0, self.right - self.left) * max(0, self.bottom - self.top)

    def common(self, other: 'Zone') -> 'Zone':
        """The part within both, which may be empty."""
        return Zone(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )

    def cut(self, array: Array, x: int = 0, y: int = 0) -> Array:
        """This part of an array (H, W, ...) whose first pixel is (x, y)."""
        left, top, right, bottom = map(int, self)
        return array[top - y : bottom - y, left - x : right - x]


def usual_overlap(tile: int) -> int:
    """Common pixels of neighbouring tiles, where the user says nothing."""
    return min(128, tile // 4)


def check_tile(tile: int, overlap: int) -> None:
    """Raise `ValueError` if tiles of this size cannot overlap by so many pixels."""
    if tile < 32 or not 0 <= overlap <= tile // 4:
        raise ValueError(
            f'tiles of {tile} pixels that overlap by {overlap} cannot be merged: give '
            'a tile of at least 32 and an overlap of at most a quarter of it.'
        )


def spans(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Starts and ends of equal tiles, each at most `tile` long, that cover a length.

    Neighbours overlap by `overlap` pixels or a few more; no pixel is in three tiles.

    Example:
        >>> spans(2000, 1024, 128)
        [(0, 752), (624, 1376), (1248, 2000)]
    """
    if length <= tile:
        return [(0, length)]
    count = ceil((length - overlap) / (tile - overlap))
    size = ceil((length + (count - 1) * overlap) / count)
    starts = [i * (length - size) // (count - 1) for i in range(count)]
    return [(start, start + size) for start in starts]


def segment_tiles(
    picture: Array, tile: int, overlap: int, logits_of: Callable[[Array], Array]
) -> Array:
    """The class of every pixel, from logits averaged where tiles overlap.

    Only the logits that the next tiles change are kept, so memory grows with the width
    of the picture, not with its area.

    Args:
        picture: (H, W, 3).
        tile: Largest side of a tile in pixels.
        overlap: Common pixels of neighbouring tiles.
        logits_of: Returns the logits (C, h, w) of a tile (h, w, 3).

    Returns:
        (H, W) int32.
    """
    height, width = picture.shape[:2]
    rows, columns = (spans(side, tile, overlap) for side in (height, width))
    label_map = np.empty((height, width), np.int32)
    from_above: Any = None  # logits of earlier tiles in the zones of this one
    from_left: Any = None
    for (top, bottom), next_top in zip(rows, _next_starts(rows), strict=True):
        for_below: Any = None
        for (left, right), next_left in zip(
            columns, _next_starts(columns), strict=True
        ):
            logits = logits_of(picture[top:bottom, left:right])
            if left > 0:
                logits[:, :, : from_left.shape[2]] += from_left
            from_left = logits[:, :, next_left - left :].copy()
            logits = logits[:, :, : next_left - left]
            if top > 0:
                logits[:, : from_above.shape[1]] += from_above[:, :, left:next_left]
            if for_below is None:
                shape = len(logits), bottom - next_top, width
                for_below = np.empty(shape, logits.dtype)
            for_below[:, :, left:next_left] = logits[:, next_top - top :]
            # The sum over tiles has its maximum where the average has it.
            done = logits[:, : next_top - top].argmax(0)
            label_map[top:next_top, left:next_left] = done
        from_above = for_below
    return label_map


def _next_starts(tiles: list[tuple[int, int]]) -> list[int]:
    """Where the next tile starts; the end of the last one."""
    return [start for start, _ in tiles[1:]] + [tiles[-1][1]]


def detect_tiles(
    picture: Array, tile: int, overlap: int, detect: Callable[[Array], Objects]
) -> Objects:
    """The objects of a picture by falling score, those at seams merged.

    Two objects of one class in two tiles are merged if, in the zone of both tiles,
    their masks (or boxes) share half of the smaller one. The union of masks and of
    boxes and the higher score are kept. With an overlap of 0 nothing is merged.

    Args:
        picture: (H, W, 3).
        tile: Largest side of a tile in pixels.
        overlap: Common pixels of neighbouring tiles.
        detect: Returns the objects of a tile (h, w, 3), in its pixels.
    """
    rows, columns = (spans(side, tile, overlap) for side in picture.shape[:2])
    zones = [
        Zone(left, top, right, bottom)
        for (top, bottom), (left, right) in product(rows, columns)
    ]
    found = [_shift(detect(zone.cut(picture)), zone) for zone in zones]
    firsts = np.cumsum([0, *(len(objects.labels) for objects in found)])
    groups = np.arange(firsts[-1])  # merged objects are in one group
    for a, b in _neighbours(len(rows), len(columns)):
        zone = zones[a].common(zones[b])
        for i, j in match(found[a], found[b], zone) if zone.area else ():
            groups[groups == groups[firsts[b] + j]] = groups[firsts[a] + i]
    return _merge(_concatenate(found), groups)


def _neighbours(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Pairs of tiles, numbered row by row, that touch at a side or a corner."""
    for row, column in product(range(rows), range(columns)):
        for down, right in [(0, 1), (1, -1), (1, 0), (1, 1)]:
            if row + down < rows and 0 <= column + right < columns:
                here = row * columns + column
                yield here, here + down * columns + right


def _shift(objects: Objects, zone: Zone) -> Objects:
    """Objects of a tile in the pixels of the picture."""
    x, y = int(zone.left), int(zone.top)
    crops = objects.crops
    if crops is not None:
        crops = [MaskCrop(crop.x + x, crop.y + y, crop.mask) for crop in crops]
    return objects._replace(
        boxes=objects.boxes + np.array([x, y, x, y], np.float32), crops=crops
    )


def match(ours: Objects, theirs: Objects, zone: Zone) -> list[tuple[int, int]]:
    """Pairs of objects that agree within a zone, each object in one pair at most."""
    lower, upper = np.array(zone[:2]), np.array(zone[2:])
    first = np.maximum(ours.boxes[:, None, :2], theirs.boxes[:, :2]).clip(lower)
    last = np.minimum(ours.boxes[:, None, 2:], theirs.boxes[:, 2:]).clip(max=upper)
    alike = ours.labels[:, None] == theirs.labels
    found = []
    for i, j in np.argwhere(alike & (first < last).all(-1)).tolist():
        one, other = _part(ours, i, zone), _part(theirs, j, zone)
        areas, shared = [one.sum(), other.sum()], (one & other).sum()
        if shared and shared >= SAME_OBJECT * min(areas):
            found.append((shared / (sum(areas) - shared), i, j))
    pairs: dict[int, int] = {}
    for _, i, j in sorted(found, reverse=True):  # those that agree most come first
        if i not in pairs and j not in pairs.values():
            pairs[i] = j
    return list(pairs.items())


def _part(objects: Objects, index: int, zone: Zone) -> Array:
    """The mask of an object, or else its box, in a zone of whole pixels, (h, w)."""
    part = np.zeros((int(zone.bottom - zone.top), int(zone.right - zone.left)), bool)
    x, y = int(zone.left), int(zone.top)
    if objects.crops is None:
        inside = Zone(*objects.boxes[index].round()).common(zone)
        inside.cut(part, x, y)[:] = True
    else:
        crop = objects.crops[index]
        height, width = crop.mask.shape
        bounds = Zone(crop.x, crop.y, crop.x + width, crop.y + height)
        inside = bounds.common(zone)
        if inside.area:
            inside.cut(part, x, y)[:] = inside.cut(crop.mask, crop.x, crop.y)
    return part


def _concatenate(found: list[Objects]) -> Objects:
    labels, scores, boxes = (
        np.concatenate([objects[i] for objects in found]) for i in range(3)
    )
    if found[0].crops is None:
        return Objects(labels, scores, boxes, None)
    crops = [crop for objects in found for crop in objects.crops or []]
    return Objects(labels, scores, boxes, crops)


def _merge(objects: Objects, groups: Array) -> Objects:
    """One object for each group, by falling score."""
    if not len(groups):
        return objects
    order = np.argsort(groups, kind='stable')
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    members.sort(key=lambda indices: -objects.scores[indices].max())
    firsts = np.array([indices[0] for indices in members], int)
    boxes = objects.boxes[firsts]
    for box, indices in zip(boxes, members, strict=True):
        box[:2] = objects.boxes[indices, :2].min(0)
        box[2:] = objects.boxes[indices, 2:].max(0)
    scores = [objects.scores[indices].max() for indices in members]
    crops = objects.crops
    if crops is not None:
        crops = [unite([crops[i] for i in indices]) for indices in members]
    return Objects(objects.labels[firsts], np.array(scores, np.float32), boxes, crops)
