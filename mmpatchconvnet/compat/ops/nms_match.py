"""NMS that also returns which boxes each kept box has suppressed.

On a GPU: mmcv's op runs on the CPU too. With thousands of kept boxes it is faster, as
here each of them is a step in Python.
"""

import torch
import torchvision
from torch import Tensor

from mmpatchconvnet.compat.ops.precision import full_precision


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Indices of the rows of dets (N, 5) in groups, each by descending score.

    The first one of a group is the kept box; a box whose IoU with it equals the
    threshold is in the group too, which `nms` would keep. Of equal scores, the lower
    index is first; mmcv's order is undefined.
    """
    dets, _ = full_precision(dets, dets)
    boxes, scores = dets.split((4, 1), dim=1)
    threshold = torch.tensor(iou_threshold, dtype=dets.dtype)  # as in `nms`
    rest = scores[:, 0].argsort(descending=True, stable=True)
    groups = []
    while len(rest):
        iou = torchvision.ops.box_iou(boxes[rest[:1]], boxes[rest])[0]
        group = iou >= threshold
        group[0] = True  # a box without area has no IoU with itself
        groups.append(rest[group].tolist())
        rest = rest[~group]
    return groups
