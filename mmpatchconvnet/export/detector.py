"""A two-stage detector of mmdet as a plain function of tensors."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from mmcv.ops import RoIAlign
from mmdet.models.dense_heads import RPNHead
from mmdet.models.detectors import FasterRCNN, MaskRCNN, TwoStageDetector
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import (
    BBoxHead,
    ConvFCBBoxHead,
    Shared2FCBBoxHead,
    Shared4Conv1FCBBoxHead,
)
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules import AnchorGenerator, DeltaXYWHBBoxCoder
from torch import Tensor

from mmpatchconvnet.export.boxes import (
    add_empty,
    anchors,
    best,
    decode,
    first,
    pool,
    suppress,
    where,
)
from mmpatchconvnet.export.graphs import Graph, check_type

NMS_SETTINGS = {'type', 'iou_threshold', 'iou_thr', 'class_agnostic', 'split_thr'}


class DetectorGraph(Graph):
    """One image (1, 3, H, W) and its `size` (2,) to objects, by falling score.

    `size` is height and width of the picture before padding; boxes are clipped to it.
    The results are `boxes` (n, 4) x1, y1, x2, y2 in pixels of the image, `labels` (n,),
    `scores` (n,) and, with a mask head, `masks` (n, h, w): probabilities in the box.

    Raises:
        ValueError: A part or a setting that cannot be exported.
    """

    input_names = ('images', 'size')
    dims: ClassVar[dict[int, str]] = {2: 'height', 3: 'width'}
    parts = ('backbone', 'neck', 'rpn_head', 'bbox_head', 'mask_head')

    def __init__(self, model: Any, preprocess: bool = False) -> None:
        check_detector(model)
        super().__init__(model, preprocess)
        self.output_names = ('boxes', 'labels', 'scores')
        if model.roi_head.with_mask:
            self.output_names += ('masks',)

    def example(self, batch: int, height: int, width: int) -> tuple[Tensor, ...]:
        (images,) = super().example(batch, height, width)
        return images, torch.tensor([height, width])

    def forward(self, images: Tensor, size: Tensor) -> tuple[Tensor, ...]:
        levels = self.model.extract_feat(self.preprocess(images))
        limits = size.flip(0).repeat(2).to(torch.float32)
        proposals = self.propose(levels, limits)
        boxes, labels, scores = self.detect(levels, proposals, limits)
        if not self.model.roi_head.with_mask:
            return boxes, labels, scores
        return boxes, labels, scores, self.draw(levels, boxes, labels)

    def propose(self, levels: Sequence[Tensor], limits: Tensor) -> Tensor:
        """Proposals (n, 4) of the RPN."""
        head, cfg = self.model.rpn_head, self.model.rpn_head.test_cfg
        found = [
            self.level_proposals(i, logits, deltas, cfg.get('nms_pre', -1), limits)
            for i, (logits, deltas) in enumerate(zip(*head(levels), strict=True))
        ]
        boxes, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
        groups = torch.cat(
            [part.new_full(part.shape, i) for i, (_, part) in enumerate(found)]
        )
        real = scores >= 0
        smallest = cfg.get('min_bbox_size', -1)
        if smallest >= 0:
            sizes = boxes[:, 2:] - boxes[:, :2]
            real = real & (sizes > smallest).all(1)
        index = where(real)
        boxes, scores, groups = boxes[index], scores[index], groups[index]
        kept = suppress(boxes, scores, groups, cfg.nms)
        return boxes[first(kept, cfg.max_per_img)]

    def level_proposals(
        self, i: int, logits: Tensor, deltas: Tensor, count: int, limits: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Boxes and scores of a level; the score of those that only fill up is -1.

        Args:
            i: Number of the level.
            logits: Map (1, A or 2 A, h, w).
            deltas: Map (1, 4 A, h, w).
            count: How many of the best are taken; all if it is not positive.
            limits: See `decode`.
        """
        head = self.model.rpn_head
        generator = head.prior_generator
        base = generator.base_anchors[i].to(deltas)
        boxes = anchors(base, generator.strides[i], *logits.shape[2:])
        deltas = deltas[0].permute(1, 2, 0).reshape(-1, 4)
        logits = logits[0].permute(1, 2, 0).reshape(-1, head.cls_out_channels)
        sigmoid = head.use_sigmoid_cls
        scores = (logits.sigmoid() if sigmoid else logits.softmax(-1))[:, 0]
        if count > 0:
            scores, index = best(scores, count)
            boxes, deltas = (add_empty(x)[index] for x in (boxes, deltas))
        return decode(boxes, deltas, head.bbox_coder, limits), scores

    def detect(
        self, levels: Sequence[Tensor], proposals: Tensor, limits: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (n, 4), labels (n,) and scores (n,) from proposals (m, 4)."""
        roi_head = self.model.roi_head
        head, cfg = roi_head.bbox_head, roi_head.test_cfg
        rois = add_empty(proposals)
        logits, deltas = head(pool(roi_head.bbox_roi_extractor, levels, rois))
        every = logits.softmax(-1)[:-1, :-1]  # (m, C) without the background
        deltas = deltas.unflatten(1, (-1, 4))[:-1]  # (m, C or 1, 4)
        boxes = decode(proposals[:, None], deltas, head.bbox_coder, limits)
        index = (every > cfg.score_thr).nonzero()  # (n, 2)
        row, labels = index[:, 0], index[:, 1]
        scores = every[row, labels]
        boxes = boxes[row, torch.zeros_like(labels) if boxes.shape[1] == 1 else labels]
        kept = suppress(boxes, scores, labels, cfg.nms)
        kept = first(kept, cfg.max_per_img)
        return boxes[kept], labels[kept], scores[kept]

    def draw(self, levels: Sequence[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        """Probabilities (n, h, w) of the masks of boxes (n, 4) with labels (n,)."""
        roi_head = self.model.roi_head
        rois = add_empty(boxes)
        logits = roi_head.mask_head(pool(roi_head.mask_roi_extractor, levels, rois))
        rows = torch.arange(labels.shape[0], device=labels.device)
        if roi_head.mask_head.class_agnostic:
            labels = torch.zeros_like(labels)
        return logits[rows, labels].sigmoid()


def check_detector(model: Any) -> None:
    """Raise unless each part of a detector computes what this module does."""
    check_type(model, TwoStageDetector, FasterRCNN, MaskRCNN)
    rpn, roi_head = model.rpn_head, model.roi_head
    check_type(rpn, RPNHead)
    check_type(rpn.prior_generator, AnchorGenerator)
    check_type(roi_head, StandardRoIHead)
    head = roi_head.bbox_head
    check_type(
        head, BBoxHead, ConvFCBBoxHead, Shared2FCBBoxHead, Shared4Conv1FCBBoxHead
    )
    extractors = [roi_head.bbox_roi_extractor]
    if roi_head.with_mask:
        check_type(roi_head.mask_head, FCNMaskHead)
        extractors.append(roi_head.mask_roi_extractor)
    for extractor in extractors:
        check_type(extractor, SingleRoIExtractor)
        for layer in extractor.roi_layers:
            check_type(layer, RoIAlign)
            check_setting('pool_mode', layer.pool_mode, 'avg')
    for coder in (rpn.bbox_coder, head.bbox_coder):
        check_type(coder, DeltaXYWHBBoxCoder)
        check_setting('add_ctr_clamp', coder.add_ctr_clamp, False)
    check_setting('with_shared_head', roi_head.with_shared_head, False)
    check_setting('with_cls', head.with_cls, True)
    check_setting('with_reg', head.with_reg, True)
    check_setting('custom_cls_channels', head.custom_cls_channels, False)
    for cfg in (rpn.test_cfg, roi_head.test_cfg):
        check_setting('type of nms', cfg.nms.get('type', 'nms'), 'nms')
        check_setting('further keys of nms', {*cfg.nms} - NMS_SETTINGS, set())


def check_setting(name: str, given: Any, needed: Any) -> None:
    if given != needed:
        raise ValueError(
            f'{name} is {given!r} in the detector, but only {needed!r} can be '
            'exported: change it, or export the maps by FeatureGraph(model).'
        )
