"""Results of large pictures in bounded memory, equal to those of the hosts.

For 8000 x 8000 pixels mmseg resizes all logits at once, 39 GB for 150 classes, of which
metrics only need the class of each pixel; mmdet makes a full mask of each object, 6 GB
for 100. Pictures with fewer values than `LARGEST` are left to the hosts.
"""

from types import MethodType
from typing import Any

import numpy as np
import pycocotools.mask
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from torch import nn
from torch.nn import functional

HOST = 'mmseg.models.segmentors.base'
TAKE_ENCODED = ('CocoMetric', 'FasterCocoMetric')
LARGEST = 2**28  # logits, and 4 times as many pixels of masks: 1 GB each


def bound_label_maps(model: nn.Module) -> None:
    """Let a segmentor of mmseg resize the logits of a large picture class by class.

    The samples of large pictures then hold no `seg_logits`. Models with a method of
    their own for this stay as they are.
    """
    method = getattr(type(model), 'postprocess_result', None)
    if getattr(method, '__module__', '') == HOST:
        postprocess: Any = MethodType(_label_maps, model)
        model.postprocess_result = postprocess


def bound_masks(model: nn.Module) -> None:
    """Let a detector of mmdet encode the masks of a large picture one after the other.

    `masks` is then a list of COCO's run-length encodings; see `takes_encoded_masks`.
    Other models stay as they are.
    """
    for part in model.modules():
        if any(base.__name__ == 'FCNMaskHead' for base in type(part).__mro__):
            single: Any = MethodType(_masks, part)
            part._predict_by_feat_single = single


def takes_encoded_masks(cfg: Config) -> bool:
    """Whether a run reads masks as run-length encodings.

    mmdet's metrics for COCO do. Its other metrics and its drawings read whole masks.
    """
    metrics = [
        metric.get('type')
        for name in ('val_evaluator', 'test_evaluator')
        for metric in _listed(cfg.get(name))
    ]
    drawing = (cfg.get('default_hooks') or {}).get('visualization') or {}
    return not drawing.get('draw') and all(
        getattr(kind, '__name__', str(kind)).split('.')[-1] in TAKE_ENCODED
        for kind in metrics
    )


def _listed(settings: Any) -> list[dict]:
    """The metrics of an evaluator in a config, which has one, several or none."""
    return settings if isinstance(settings, list) else [settings] if settings else []


def _label_maps(model: Any, seg_logits: torch.Tensor, data_samples: Any = None) -> Any:
    """As `postprocess_result` of mmseg, one picture after the other."""
    whole = type(model).postprocess_result
    classes = seg_logits.shape[1]
    if data_samples is None or classes == 1:
        return whole(model, seg_logits, data_samples)
    for logits, sample in zip(seg_logits, data_samples, strict=True):
        size = tuple(sample.metainfo['ori_shape'][:2])
        if classes * size[0] * size[1] <= LARGEST:
            whole(model, logits[None], [sample])
            continue
        stored = _stored_part(logits, sample.metainfo)
        labels = largest_class(stored, size, model.align_corners)
        sample.set_data(dict(pred_sem_seg=PixelData(data=labels[None])))
    return data_samples


def _stored_part(logits: torch.Tensor, meta: dict) -> torch.Tensor:
    """The logits (C, h, w) without padding, and turned back if they were flipped."""
    default = meta.get('padding_size', [0] * 4)
    left, right, top, bottom = meta.get('img_padding_size', default)
    height, width = logits.shape[1:]
    logits = logits[:, top : height - bottom, left : width - right]
    if meta.get('flip'):
        logits = logits.flip(2 if meta['flip_direction'] == 'horizontal' else 1)
    return logits


def largest_class(
    logits: torch.Tensor, size: tuple[int, ...], align_corners: bool
) -> torch.Tensor:
    """The class with the largest logit of each pixel, after a bilinear resize.

    Equal to `interpolate(logits[None], size)[0].argmax(0)`, but in memory for as many
    classes at a time as `LARGEST` allows.

    Args:
        logits: (C, h, w).
        size: Height and width of the result.
        align_corners: As of `torch.nn.functional.interpolate`.

    Returns:
        (H, W) int64.
    """
    best = logits.new_full(size, -torch.inf)
    labels = torch.zeros(size, dtype=torch.int64, device=logits.device)
    step = max(1, LARGEST // best.numel())
    for first in range(0, len(logits), step):
        part = functional.interpolate(
            logits[None, first : first + step],
            size,
            mode='bilinear',
            align_corners=align_corners,
        )[0]
        for label, values in enumerate(part, first):
            labels.masked_fill_(values > best, label)
            torch.maximum(best, values, out=best)
    return labels


def _masks(
    head: Any,
    mask_preds: torch.Tensor,
    bboxes: torch.Tensor,
    labels: torch.Tensor,
    img_meta: dict,
    *settings: Any,
    **named: Any,
) -> Any:
    """As `_predict_by_feat_single` of mmdet's mask head; see `bound_masks`."""
    whole = type(head)._predict_by_feat_single
    height, width = img_meta['ori_shape'][:2]
    if len(bboxes) * height * width <= 4 * LARGEST:
        return whole(head, mask_preds, bboxes, labels, img_meta, *settings, **named)
    encoded = []
    for i in range(len(bboxes)):
        one = slice(i, i + 1)  # a view: the boxes are rescaled in place
        given = mask_preds[one], bboxes[one], labels[one], img_meta
        (mask,) = whole(head, *given, *settings, **named)
        # In the pixels of the mask now; what lies beyond the box is not painted.
        left, _, right, _ = bboxes[i].tolist()
        first, last = max(0, int(left) - 1), max(0, int(right) + 2)
        columns = mask[:, first:last].cpu().numpy()
        encoded.append(encode_columns(columns, first, mask.shape[1]))
    return encoded


def encode_columns(columns: np.ndarray, first: int, width: int) -> dict:
    """COCO's run-length encoding of a mask of which only some columns are painted.

    Args:
        columns: (H, w) bool.
        first: Where they start in the mask.
        width: Of the mask.
    """
    height = len(columns)
    flat = np.concatenate([[False], columns.T.ravel(), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + first * height
    counts = np.diff(np.concatenate([[0], edges, [height * width]])).tolist()
    rle = dict(counts=counts, size=[height, width])
    return pycocotools.mask.frPyObjects(rle, height, width)
