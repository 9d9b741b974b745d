"""What happens before and after an exported graph, with NumPy and OpenCV only.

It follows mmcv's transforms, the hosts' data preprocessors, mmdet's pasting of masks
and mmseg's resizing of logits; tests hold it to them.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image

from mmpatchconvnet.mask_crops import MaskCrop, to_crop

Array = np.ndarray
OF_OPENCV = dict(
    nearest=cv2.INTER_NEAREST,
    bilinear=cv2.INTER_LINEAR,
    bicubic=cv2.INTER_CUBIC,
    area=cv2.INTER_AREA,
    lanczos=cv2.INTER_LANCZOS4,
)
OF_PILLOW = dict(
    nearest=Image.Resampling.NEAREST,
    bilinear=Image.Resampling.BILINEAR,
    bicubic=Image.Resampling.BICUBIC,
    box=Image.Resampling.BOX,
    lanczos=Image.Resampling.LANCZOS,
)


def apply_step(image: Array, step: dict[str, Any]) -> Array:
    """Resize or crop a picture (H, W, 3) uint8 by a step of a test pipeline.

    Args:
        image: The picture.
        step: Its `type` is `Resize`, `ResizeEdge` or `CenterCrop`, the rest are the
            arguments of these transforms.
    """
    height, width = image.shape[:2]
    if step['type'] == 'CenterCrop':
        size = step['crop_size']
        rows, columns = (size, size) if isinstance(size, int) else size[::-1]
        top = max(0, round((height - rows) / 2))
        left = max(0, round((width - columns) / 2))
        return image[top : top + rows, left : left + columns]
    if step['type'] == 'ResizeEdge':
        size = _edge_size(width, height, step['scale'], step.get('edge', 'short'))
    else:
        size = _scaled_size(width, height, step)
    if size == (width, height):
        return image
    how = step.get('interpolation', 'bilinear')
    if step.get('backend', 'cv2') == 'cv2':
        return cv2.resize(image, size, interpolation=OF_OPENCV[how])
    return np.asarray(Image.fromarray(image).resize(size, OF_PILLOW[how]))


def _edge_size(width: int, height: int, scale: int, edge: str) -> tuple[int, int]:
    by_width = dict(short=width < height, long=width > height, width=True).get(edge)
    if by_width:
        return scale, int(scale * height / width)
    return int(scale * width / height), scale


def _scaled_size(width: int, height: int, step: dict[str, Any]) -> tuple[int, int]:
    scale: Any = step.get('scale')
    if scale is None:
        factor: Any = step['scale_factor']
        across, down = (factor, factor) if isinstance(factor, (int, float)) else factor
        return int(width * across + 0.5), int(height * down + 0.5)
    across, down = (scale, scale) if isinstance(scale, int) else scale
    if not step.get('keep_ratio', False):
        return across, down
    factor = min(
        max(across, down) / max(height, width), min(across, down) / min(height, width)
    )
    return int(width * factor + 0.5), int(height * factor + 0.5)


def normalize(image: Array, mean: Sequence[float], std: Sequence[float]) -> Array:
    """A picture (H, W, 3) as (3, H, W) float32: less the mean, over the deviation."""
    values = image.astype(np.float32)
    values -= np.asarray(mean, np.float32)
    values /= np.asarray(std, np.float32)
    return values.transpose(2, 0, 1)


def pad(image: Array, divisor: int, value: float) -> Array:
    """A picture (3, H, W), padded at right and bottom to multiples of the divisor."""
    rows, columns = (-side % divisor for side in image.shape[1:])
    return np.pad(image, [(0, 0), (0, rows), (0, columns)], constant_values=value)


def paste(
    mask: Array, box: Array, shape: tuple[int, int], threshold: float
) -> MaskCrop:
    """The mask of an object in its picture.

    Args:
        mask: Probabilities within the box, (h, w).
        box: x1, y1, x2, y2 in pixels of the picture.
        shape: Height and width of the picture.
        threshold: The lowest probability that counts as inside.
    """
    x1, y1, x2, y2 = (float(side) for side in box)
    top, bottom = max(0, int(np.floor(y1)) - 1), min(shape[0], int(np.ceil(y2)) + 1)
    left, right = max(0, int(np.floor(x1)) - 1), min(shape[1], int(np.ceil(x2)) + 1)
    down = _samples(np.arange(top, bottom), y1, y2, mask.shape[0])
    across = _samples(np.arange(left, right), x1, x2, mask.shape[1])
    return to_crop(down @ mask @ across.T >= threshold, left, top)


def _samples(pixels: Array, start: float, end: float, count: int) -> Array:
    """Weights (P, count) that interpolate `count` values from start to end at pixels.

    Beyond the first and the last value, they fall to 0.
    """
    width = max(end - start, 1e-6)
    places = (pixels + 0.5 - start) / width * count - 0.5
    distance = np.abs(places[:, None] - np.arange(count))
    return np.clip(1 - distance, 0, None).astype(np.float32)


def resize_logits(logits: Array, shape: tuple[int, int], align_corners: bool) -> Array:
    """Logits (C, h, w) at another size (C, H, W), bilinear as in PyTorch."""
    if logits.shape[1:] == shape:
        return logits
    if not align_corners:
        size = shape[::-1]
        return np.stack([cv2.resize(channel, size) for channel in logits])
    down, across = (
        _interpolation(new, old)
        for new, old in zip(shape, logits.shape[1:], strict=True)
    )
    return down @ logits @ across.T


def _interpolation(new: int, old: int) -> Array:
    """Weights (new, old) of a linear interpolation from the first to the last value."""
    places: Array = np.arange(new, dtype=np.float64) * (old - 1) / max(new - 1, 1)
    distance = np.abs(places[:, None] - np.arange(old))
    return np.clip(1 - distance, 0, None).astype(np.float32)
