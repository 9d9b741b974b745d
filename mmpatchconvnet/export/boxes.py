"""Steps of a two-stage detector on boxes, without branches that depend on values.

Each computes what mmdet computes, in the same order of operations.
"""

from collections.abc import Sequence
from math import log
from typing import Any

import torch
from torch import Tensor


def anchors(base: Tensor, strides: tuple[int, int], height: int, width: int) -> Tensor:
    """Anchors (height * width * A, 4) of base anchors (A, 4) at each cell of a map."""
    x = torch.arange(width, device=base.device).to(base.dtype) * strides[0]
    y = torch.arange(height, device=base.device).to(base.dtype) * strides[1]
    x, y = x.expand(height, width), y[:, None].expand(height, width)
    shifts = torch.stack((x, y, x, y), dim=-1)[:, :, None]  # (height, width, 1, 4)
    return (base + shifts).reshape(-1, 4)


def decode(boxes: Tensor, deltas: Tensor, coder: Any, limits: Tensor) -> Tensor:
    """Boxes (..., 4) moved by deltas (..., 4), as mmdet's DeltaXYWHBBoxCoder does.

    Args:
        boxes: x1, y1, x2, y2; its shape is that of the deltas or is broadcast to it.
        deltas: What the network predicts.
        coder: Has the means, the deviations and whether boxes are clipped.
        limits: Width, height, width and height of the picture, in float32.
    """
    deltas = deltas * deltas.new_tensor(coder.stds) + deltas.new_tensor(coder.means)
    centres = (boxes[..., :2] + boxes[..., 2:]) * 0.5
    sizes = boxes[..., 2:] - boxes[..., :2]
    most = abs(log(16 / 1000))
    centres = centres + sizes * deltas[..., :2]
    halves = sizes * deltas[..., 2:].clamp(-most, most).exp() * 0.5
    moved = torch.cat((centres - halves, centres + halves), dim=-1)
    return moved.clamp(min=0).minimum(limits) if coder.clip_border else moved


def best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The highest scores (count,) in order, and their indices; -1 and N fill up.

    Of equal scores the first comes first.
    """
    # With so many more scores, their number needs no comparison.
    padded = torch.cat((scores, scores.new_full((count,), -1)))
    if torch.compiler.is_compiling():  # ONNX takes the first of equal scores, too
        values, indices = padded.topk(count)
    else:
        values, indices = padded.sort(descending=True, stable=True)
        values, indices = values[:count], indices[:count]
    return values, indices.clamp(max=scores.shape[0])


def suppress(boxes: Tensor, scores: Tensor, groups: Tensor, settings: dict) -> Tensor:
    """Indices of the boxes that NMS keeps, by falling score.

    Args:
        boxes: Boxes (N, 4).
        scores: Their scores (N,).
        groups: Only boxes of the same number (N,) suppress each other.
        settings: `nms` of a test_cfg.
    """
    if not settings.get('class_agnostic', False):
        # The added value is for a maximum of no boxes.
        lowest = boxes.new_full((1,), -torch.inf)
        largest = torch.cat((boxes.flatten(), lowest)).max()
        boxes = boxes + (groups.to(boxes) * (largest + 1))[:, None]
    threshold = settings.get('iou_threshold', settings.get('iou_thr'))
    threshold = torch.tensor(threshold, dtype=torch.float32).item()  # as mmcv compares
    return torch.ops.torchvision.nms(boxes, scores, threshold)


def first(indices: Tensor, count: int) -> Tensor:
    """The first entries of a vector, at most so many; all if count is not positive."""
    if count > 0:
        places = torch.arange(indices.shape[0], device=indices.device)
        indices = indices[where(places < count)]
    # Without a bound, the exporter writes products of sizes that overflow.
    torch._check(indices.shape[0] <= (count if count > 0 else 2**24))
    return indices


def where(condition: Tensor) -> Tensor:
    """Indices (n,) of the true values of a vector."""
    return condition.nonzero()[:, 0]


def add_empty(boxes: Tensor) -> Tensor:
    """Boxes (n, 4) and one without area, so that no layer gets an empty batch."""
    return torch.cat((boxes, boxes.new_zeros(1, 4)))


def pool(extractor: Any, levels: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """Maps (n, C, h, w) of boxes (n, 4), each from the level that suits its size.

    Args:
        extractor: A SingleRoIExtractor of mmdet with averaging RoIAlign layers.
        levels: Maps (1, C, H, W) of one picture.
        boxes: x1, y1, x2, y2.
    """
    layers = extractor.roi_layers
    rois = torch.cat((boxes.new_zeros(boxes.shape[0], 1), boxes), dim=1)  # (n, 5)
    sizes = boxes[:, 2:] - boxes[:, :2]
    scales = torch.sqrt(sizes[:, 0] * sizes[:, 1])
    chosen = torch.log2(scales / extractor.finest_scale + 1e-6).floor()
    chosen = chosen.clamp(0, len(layers) - 1).long()
    height, width = layers[0].output_size
    pooled = levels[0].new_zeros(boxes.shape[0], extractor.out_channels, height, width)
    for i, (layer, level) in enumerate(zip(layers, levels, strict=False)):
        index = where(chosen == i)
        part = torch.ops.torchvision.roi_align(
            level,
            rois[index],
            layer.spatial_scale,
            height,
            width,
            layer.sampling_ratio,
            layer.aligned,
        )
        pooled = pooled.index_put((index,), part)
    return pooled
