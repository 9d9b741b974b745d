"""Masks of single objects, kept within their bounds.

A picture of 8000 x 8000 pixels with a thousand objects would need 64 GB as full masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

import cv2
import numpy as np

Array = np.ndarray


@dataclass
class MaskCrop:
    """The mask (h, w) bool of an object, whose first pixel is (x, y) in its picture.

    A mask without pixels is (0, 0) at (0, 0).
    """

    x: int
    y: int
    mask: Array

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(self.mask.sum())


def to_crop(mask: Array, x: int = 0, y: int = 0) -> MaskCrop:
    """A mask (H, W) bool whose first pixel is (x, y), reduced to its bounds."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return MaskCrop(0, 0, np.zeros((0, 0), bool))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    return MaskCrop(x + int(left), y + int(top), mask[top:bottom, left:right].copy())


def to_masks(crops: Sequence[MaskCrop], shape: tuple[int, int]) -> Array:
    """Full masks (N, H, W) bool of objects in a picture of shape (H, W)."""
    masks = np.zeros((len(crops), *shape), bool)
    for full, crop in zip(masks, crops, strict=True):
        height, width = crop.mask.shape
        full[crop.y : crop.y + height, crop.x : crop.x + width] = crop.mask
    return masks


def scale_crop(crop: MaskCrop, scale: float) -> MaskCrop:
    """The mask in a picture that is `scale` times as large, with a smooth outline."""
    height, width = crop.mask.shape
    if not crop.area:
        return crop
    left, top = floor(scale * crop.x), floor(scale * crop.y)
    size = ceil(scale * (crop.x + width)) - left, ceil(scale * (crop.y + height)) - top
    # From the centre of a new pixel to the place in the old mask.
    to_old = np.array(
        [
            [1 / scale, 0, (left + 0.5) / scale - 0.5 - crop.x],
            [0, 1 / scale, (top + 0.5) / scale - 0.5 - crop.y],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    soft = cv2.warpAffine(crop.mask.astype(np.float32), to_old, size, flags=flags)
    return MaskCrop(left, top, soft > 0.5)


def unite(crops: Sequence[MaskCrop]) -> MaskCrop:
    """The union of masks of one picture."""
    crops = [crop for crop in crops if crop.mask.size]
    if len(crops) < 2:
        return crops[0] if crops else to_crop(np.zeros((0, 0), bool))
    x, y = min(crop.x for crop in crops), min(crop.y for crop in crops)
    right = max(crop.x + crop.mask.shape[1] for crop in crops)
    bottom = max(crop.y + crop.mask.shape[0] for crop in crops)
    moved = [MaskCrop(crop.x - x, crop.y - y, crop.mask) for crop in crops]
    return MaskCrop(x, y, np.any(to_masks(moved, (bottom - y, right - x)), axis=0))
