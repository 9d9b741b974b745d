"""Multiply-adds of heads with queries, which compute with values of tensors.

torch's meta device has no values, so these heads run for real, on maps of zeros. With
several maps their work is a constant for the queries and one for each pixel: two small
images give both. What rounding of the coarsest maps adds is left out.
"""

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

Size = tuple[int, int]


def has_queries(model: Any) -> bool:
    """Whether a detector or segmentor is a DETR, a Mask2Former or a Sparse R-CNN."""
    head = getattr(model, 'decode_head', None) or getattr(model, 'panoptic_head', None)
    return (
        hasattr(model, 'forward_transformer')
        or hasattr(head, 'pixel_decoder')
        or hasattr(getattr(model, 'rpn_head', None), 'init_proposal_bboxes')
    )


def count_head(model: Any, features: Sequence[Tensor], image: Size) -> int:
    """Multiply-adds of the head of a model for one image, without backbone and neck.

    Args:
        model: On the meta device, with queries; it is not changed.
        features: Its maps of the image, without values.
        image: Height and width of the image, in pixels.
    """
    head = zeroed_head(model)
    if len(features) == 1:  # DETR's attention within its map is not linear in its size
        return count_on_zeros(head, [torch.zeros(features[0].shape)], image)
    strides = [2 ** round(math.log2(image[0] / x.shape[2])) for x in features]
    side = max(strides)
    # DINO starts its queries from as many cells.
    while sum((side // s) ** 2 for s in strides) < getattr(model, 'num_queries', 0):
        side *= 2

    def count(height: int, width: int) -> int:
        maps = [
            torch.zeros(1, x.shape[1], height // stride, width // stride)
            for x, stride in zip(features, strides, strict=True)
        ]
        return count_on_zeros(head, maps, (height, width))

    macs = count(side, side)
    if hasattr(model, 'roi_head'):  # as many proposals for any image
        return macs
    per_pixel = (count(side, side + max(strides)) - macs) / (side * max(strides))
    return round(macs + per_pixel * (image[0] * image[1] - side**2))


def zeroed_head(model: Any) -> Any:
    """A copy with parameters of zero, which has neither backbone nor neck."""
    parts = (model.backbone, getattr(model, 'neck', None))
    memo: dict[int, Any] = {id(part): nn.Identity() for part in parts if part}
    head = deepcopy(model, memo).to_empty(device='cpu')
    for tensor in (*head.parameters(), *head.buffers()):
        tensor.zero_()
    return head


def count_on_zeros(head: Any, maps: list[Tensor], size: Size) -> int:
    """Multiply-adds of a prediction from maps of zeros, for an image of a size."""
    head.extract_feat = lambda images: maps
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        head(torch.empty(1, 3, *size), [sample_of(head, size)], mode='predict')
    return counter.get_total_flops() // 2


def sample_of(model: Any, size: Size) -> Any:
    """A data sample of the model's host for an image that is not padded."""
    if hasattr(model, 'decode_head'):
        from mmseg.structures import SegDataSample as Sample
    else:
        from mmdet.structures import DetDataSample as Sample
    names = ('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape')
    return Sample(metainfo=dict(dict.fromkeys(names, size), scale_factor=(1.0, 1.0)))
