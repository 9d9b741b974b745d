"""NMS by torchvision, and soft-NMS.

Kept indices, order and scores are equal to mmcv's compiled ops to the bit in float32 if
all scores differ. Of equal scores this one takes the lower index first, while mmcv's
order is undefined, so that another of these boxes may be kept.

On a GPU: NMS is torchvision's kernel, which should be as fast. Soft-NMS runs on the CPU
in mmcv too; here each kept box is a step in Python.
"""

import torch
import torchvision
from torch import Tensor

from mmpatchconvnet.compat.ops.precision import full_precision


def _add_offset(boxes: Tensor, offset: int) -> Tensor:
    """Boxes (N, 4) with ``offset`` added to x2 and y2, as mmcv adds it to sizes."""
    return torch.cat((boxes[:, :2], boxes[:, 2:] + offset), dim=1)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the kept boxes (N, 4), by descending score."""
    boxes, scores = full_precision(boxes, scores)
    # mmcv compares in the boxes' dtype, torchvision's CPU kernel in double, where a
    # float32 IoU of 0.3 exceeds a threshold of 0.3.
    threshold = torch.tensor(iou_threshold, dtype=boxes.dtype).item()
    return torchvision.ops.nms(_add_offset(boxes, offset), scores, threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Fill the first rows of ``dets`` (N, 5); return the kept indices in that order."""
    corners, scores = full_precision(boxes, scores)
    areas = _add_offset(corners, offset)
    scores = scores.clone()
    kept: list[int] = []
    rest = torch.arange(len(scores), device=scores.device)
    while len(rest):
        best = int(rest[scores[rest].argmax()])
        kept.append(best)
        rest = rest[rest != best]
        iou = torchvision.ops.box_iou(areas[best : best + 1], areas[rest])[0]
        # Two boxes without area have IoU 0/0: no overlap.
        scores[rest] *= _soft_weight(iou.nan_to_num(), iou_threshold, sigma, method)
        rest = rest[scores[rest] >= min_score]
    keep = torch.tensor(kept, dtype=torch.long, device=scores.device)
    dets[: len(keep)] = torch.cat((corners[keep], scores[keep, None]), dim=1)
    return keep


def _soft_weight(
    iou: Tensor, iou_threshold: float, sigma: float, method: int
) -> Tensor:
    """Factor for the scores of boxes that overlap one of a higher score."""
    if method == 2:  # gaussian
        return torch.exp(-iou.square() / sigma)
    decayed = 1 - iou if method == 1 else torch.zeros_like(iou)  # linear, naive
    return torch.where(iou >= iou_threshold, decayed, 1)
