"""Large pictures give the hosts' own results, in less memory."""

from types import SimpleNamespace
from typing import Any

import pycocotools.mask
import pytest
import torch
from mmengine.config import Config
from torch import nn
from torch.nn import functional

from mmpatchconvnet import large_pictures
from mmpatchconvnet.large_pictures import (
    bound_label_maps,
    bound_masks,
    largest_class,
    takes_encoded_masks,
)
from mmpatchconvnet.visualization.panels import to_crops


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('largest', [1, 3 * 37 * 50, 2**28])
def test_the_largest_class_is_that_of_all_logits(largest, align_corners, monkeypatch):
    monkeypatch.setattr(large_pictures, 'LARGEST', largest)
    logits = torch.randn(7, 9, 13, generator=torch.Generator().manual_seed(0))
    whole = functional.interpolate(
        logits[None], (37, 50), mode='bilinear', align_corners=align_corners
    )
    found = largest_class(logits, (37, 50), align_corners)
    assert torch.equal(found, whole[0].argmax(0))


@pytest.mark.seg
def test_a_large_picture_has_the_label_map_of_the_host(monkeypatch):
    from mmseg.models.segmentors.base import BaseSegmentor
    from mmseg.structures import SegDataSample

    class Segmentor(nn.Module):
        align_corners = False
        postprocess_result = BaseSegmentor.postprocess_result

    def samples() -> list[Any]:
        metas: list[dict] = [
            dict(ori_shape=(40, 60), img_padding_size=(0, 2, 0, 1)),
            dict(ori_shape=(30, 20), flip=True, flip_direction='horizontal'),
            dict(ori_shape=(30, 20), flip=True, flip_direction='vertical'),
        ]
        return [SegDataSample(metainfo=meta) for meta in metas]

    logits = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    model: Any = Segmentor()
    expected = model.postprocess_result(logits, samples())
    bound_label_maps(model)
    whole = model.postprocess_result(logits, samples())
    monkeypatch.setattr(large_pictures, 'LARGEST', 100)
    large = model.postprocess_result(logits, samples())
    for ours, same, theirs in zip(large, whole, expected, strict=True):
        assert torch.equal(ours.pred_sem_seg.data, theirs.pred_sem_seg.data)
        assert 'seg_logits' not in ours
        assert torch.equal(same.seg_logits.data, theirs.seg_logits.data)


@pytest.mark.seg
def test_a_segmentor_with_its_own_label_maps_keeps_them():
    from mmseg.models.segmentors.base import BaseSegmentor

    class Own(nn.Module):
        align_corners = False

        def postprocess_result(self, *_: Any) -> str:
            return 'own'

    assert BaseSegmentor.postprocess_result.__module__ == large_pictures.HOST
    model = Own()
    bound_label_maps(model)
    assert model.postprocess_result() == 'own'


def test_masks_stay_whole_for_metrics_and_drawings_that_read_them():
    coco = dict(type='mmdet.CocoMetric')
    class_ = dict(type=type('CocoMetric', (), {}))
    for evaluator in (None, coco, [coco], class_):
        assert takes_encoded_masks(Config(dict(val_evaluator=evaluator)))
    for metric in ('LVISMetric', 'mmdet.DumpDetResults', 'CityScapesMetric'):
        evaluator = [coco, dict(type=metric)]
        assert not takes_encoded_masks(Config(dict(test_evaluator=evaluator)))
    drawing = dict(visualization=dict(type='DetVisualizationHook', draw=True))
    cfg = Config(dict(val_evaluator=coco, default_hooks=drawing))
    assert not takes_encoded_masks(cfg)


@pytest.mark.det
def test_masks_of_a_large_picture_are_encoded_one_by_one(monkeypatch):
    from mmdet.models.roi_heads.mask_heads import FCNMaskHead

    head = FCNMaskHead(
        num_convs=1,
        in_channels=4,
        conv_out_channels=4,
        num_classes=2,
        loss_mask=dict(type='mmdet.CrossEntropyLoss', use_mask=True),
    )
    logits = torch.randn(3, 2, 28, 28, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[4.0, 4, 40, 30], [0, 0, 9, 9], [20, 10, 80, 60]])
    meta = dict(scale_factor=(2.0, 2.0), ori_shape=(50, 60))

    def masks() -> tuple[Any, torch.Tensor]:
        own = boxes.clone()
        settings = SimpleNamespace(mask_thr_binary=0.5)
        labels = torch.tensor([0, 1, 1])
        found = head._predict_by_feat_single(
            logits, own, labels, meta, settings, rescale=True
        )
        return found, own

    expected, rescaled = masks()
    bound_masks(nn.Sequential(head))
    assert torch.equal(masks()[0], expected)
    monkeypatch.setattr(large_pictures, 'LARGEST', 100)
    found, own = masks()
    assert torch.equal(own, rescaled)
    for one, mask in zip(found, expected, strict=True):
        decoded = torch.from_numpy(pycocotools.mask.decode(one))
        assert torch.equal(decoded.bool(), mask)
    ours, theirs = to_crops(found), to_crops(expected)
    assert [(one.x, one.y, one.area) for one in ours] == [
        (one.x, one.y, one.area) for one in theirs
    ]
