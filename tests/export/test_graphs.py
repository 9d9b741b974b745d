from types import SimpleNamespace

import numpy as np
import pytest
import torch
from config_files import ROOT, read, shrink
from host_predictions import PREDICT, detect, paste
from small_models import build_model
from torch import nn

from mmpatchconvnet import DeconvPyramid, PatchConvNet
from mmpatchconvnet.deploy import switch_to_deploy
from mmpatchconvnet.export import FeatureGraph, make_graph
from mmpatchconvnet.export.preprocess import Preprocess
from mmpatchconvnet.export.write import write_checked
from mmpatchconvnet.inference.results import Detection

SIZES = [(96, 128), (75, 131), (160, 64)]
BATCHED = [
    pytest.param('classifier', marks=pytest.mark.cls),
    pytest.param('upernet', marks=pytest.mark.seg),
]
EVERY = [*BATCHED, pytest.param('mask_rcnn', marks=pytest.mark.det)]


def assert_detected(ours, theirs, model, size):
    boxes, labels, scores = theirs[:3]
    assert len(labels) == len(ours[1])
    torch.testing.assert_close(ours[0], boxes, rtol=1e-5, atol=1e-4)
    assert (ours[1] == labels).all()
    torch.testing.assert_close(ours[2], scores, rtol=1e-5, atol=1e-6)
    if len(ours) == 4 and len(labels):
        assert (paste(model, ours, size) == theirs[3]).float().mean() > 0.9999


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('task', BATCHED)
def test_graphs_give_what_the_host_gives(task, size, build):
    model = build(task)
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        ours, theirs = make_graph(model)(images), PREDICT[task](model, images)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.det
@pytest.mark.parametrize('size', SIZES)
def test_detectors_find_what_the_host_finds(size, build):
    model = build('mask_rcnn')
    images, picture = torch.randn(1, 3, *size), torch.tensor(size) - 7
    with torch.no_grad():
        ours = make_graph(model)(images, picture)
        theirs = detect(model, images, picture)
    assert len(ours[1]) == 20
    assert (ours[0][:, 2:] <= picture.flip(0)).all()
    assert_detected(ours, theirs, model, picture)


def agnostic(model):
    model.roi_head.bbox_head.reg_class_agnostic = True
    model.roi_head.mask_head.class_agnostic = True


def boxes_alone(model):
    model.update(type='FasterRCNN')
    for name in ('mask_head', 'mask_roi_extractor'):
        del model.roi_head[name]


def every_proposal(model):
    model.test_cfg.rpn.update(nms_pre=-1, min_bbox_size=9)
    model.test_cfg.rcnn.nms.update(class_agnostic=True)


def softmax_proposals(model):
    model.rpn_head.loss_cls.use_sigmoid = False


def no_proposals(model):
    model.test_cfg.rpn.min_bbox_size = 10000


def no_objects(model):
    model.test_cfg.rcnn.score_thr = 1.5


@pytest.mark.det
@pytest.mark.parametrize(
    'edit',
    [
        agnostic,
        boxes_alone,
        every_proposal,
        softmax_proposals,
        no_proposals,
        no_objects,
    ],
)
def test_detectors_with_other_settings_find_what_the_host_finds(edit, build):
    model = build('mask_rcnn', edit)
    images, picture = torch.randn(1, 3, 96, 128), torch.tensor([90, 120])
    with torch.no_grad():
        ours = make_graph(model)(images, picture)
        if edit is boxes_alone:
            model.roi_head.predict_mask = None  # not called
            theirs = detect_boxes(model, images, picture)
        else:
            theirs = detect(model, images, picture)
    assert (len(ours[1]) == 0) == edit.__name__.startswith('no_')
    assert_detected(ours, theirs, model, picture)


def detect_boxes(model, images, size):
    from mmdet.structures import DetDataSample

    sample = DetDataSample(metainfo=dict(img_shape=tuple(size.tolist())))
    (sample,) = model.predict(images, [sample], rescale=False)
    found = sample.pred_instances
    return [found.bboxes, found.labels, found.scores]


@pytest.mark.parametrize('patch_size', [8, 16, 32])
def test_maps_of_a_column_with_a_pyramid_are_its_levels(patch_size):
    torch.manual_seed(0)
    arch = dict(embed_dims=32, depth=4, patch_size=patch_size)
    column = PatchConvNet(arch, out_indices=(0, 1, 2, 3), stem_indices=(1, 2))
    pyramid = DeconvPyramid(32, stem_channels=(8, 16), patch_size=patch_size)
    model = nn.Sequential(column, pyramid).eval()
    graph = make_graph(model)
    assert graph.output_names == ('level0', 'level1', 'level2', 'level3')
    images = torch.rand(2, 3, 75, 131)
    with torch.no_grad():
        for a, b in zip(graph(images), model(images), strict=True):
            assert (a == b).all()


@pytest.mark.parametrize('task', EVERY)
def test_maps_of_a_model_are_those_of_extract_feat(task, build):
    model = build(task)
    images = torch.rand(1, 3, 75, 131)
    with torch.no_grad():
        ours, theirs = FeatureGraph(model)(images), model.extract_feat(images)
        for a, b in zip(ours, theirs, strict=True):
            assert (a == b).all()


@pytest.mark.parametrize('task', EVERY)
def test_preprocessing_is_that_of_the_host(task, build):
    model = build(task)
    images = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (2, 3, 75, 131), np.uint8)
    )
    samples = None
    if task == 'upernet':
        from mmseg.structures import SegDataSample

        samples = [SegDataSample(), SegDataSample()]
    data = dict(inputs=[*images], data_samples=samples)
    theirs = model.data_preprocessor(data)['inputs']
    ours = Preprocess(model.data_preprocessor)(images.float())
    torch.testing.assert_close(ours, theirs)


@pytest.mark.seg
def test_logits_have_the_size_of_the_images_with_padding_too(build):
    model = build('upernet')
    model.data_preprocessor.test_cfg = dict(size_divisor=32)
    graph = make_graph(model, preprocess=True)
    with torch.no_grad():
        (logits,) = graph(torch.full((1, 3, 75, 131), 99.0))
        padded = graph.preprocess(torch.full((1, 3, 75, 131), 99.0))
        assert padded.shape == (1, 3, 96, 160)
        meta = [dict(img_shape=(96, 160))]
        whole = model.encode_decode(padded, meta)
    assert logits.shape[2:] == (75, 131)
    torch.testing.assert_close(logits, whole[:, :, :75, :131], rtol=1e-5, atol=1e-5)
    model.data_preprocessor.test_cfg = dict(size=(96, 160))
    with pytest.raises(ValueError, match=r'fixed size \(96, 160\).*size_divisor'):
        make_graph(model, preprocess=True)


@pytest.mark.seg
def test_sliding_windows_are_refused(build):
    model = build('upernet')
    model.test_cfg.update(mode='slide', crop_size=(64, 64), stride=(42, 42))
    with pytest.raises(ValueError, match=r"mode='slide' .*mode='whole'"):
        make_graph(model)


@pytest.mark.cls
def test_other_preprocessors_are_refused(build):
    model = build('classifier')

    class Doubled(type(model.data_preprocessor)):
        pass

    model.data_preprocessor.__class__ = Doubled
    with pytest.raises(ValueError, match=r'Doubled prepares images otherwise'):
        make_graph(model, preprocess=True)


def test_other_models_are_refused():
    with pytest.raises(ValueError, match=r'Linear cannot be exported .*FeatureGraph'):
        make_graph(nn.Linear(1, 1))
    column = PatchConvNet(dict(embed_dims=8, depth=1))
    with pytest.raises(ValueError, match='PatchConvNet without a data preprocessor'):
        make_graph(column, preprocess=True)
    switch_to_deploy(column, torch.bfloat16)
    with pytest.raises(ValueError, match=r'bfloat16, but only float32.*fp16=True'):
        make_graph(column)


@pytest.mark.det
def test_other_parts_of_a_detector_are_refused(build):
    model = build('mask_rcnn')
    cfg = model.roi_head.test_cfg.nms
    cfg.type = 'soft_nms'
    with pytest.raises(ValueError, match=r"'soft_nms'.* only 'nms'"):
        make_graph(model)
    cfg.update(type='nms', max_num=3)
    with pytest.raises(ValueError, match='max_num'):
        make_graph(model)
    del cfg['max_num']
    model.roi_head.mask_roi_extractor.roi_layers[0].pool_mode = 'max'
    with pytest.raises(ValueError, match='pool_mode'):
        make_graph(model)
    model.roi_head.__class__ = type('Other', (type(model.roi_head),), {})
    with pytest.raises(ValueError, match='Other cannot be exported'):
        make_graph(model)


@pytest.mark.cls
def test_a_head_that_predicts_otherwise_is_refused(build):
    model = build('classifier')
    kind = type(model.head)
    other = dict(_get_predictions=lambda *args: None)
    model.head.__class__ = type('Sigmoid', (kind,), other)
    with pytest.raises(ValueError, match='Sigmoid predicts otherwise than ClsHead'):
        make_graph(model)


@pytest.mark.det
@pytest.mark.parametrize('name', ['mask2former', 'dino'])
def test_a_detector_with_queries_is_refused_in_a_sentence(name, tmp_path):
    cfg = read(ROOT / f'configs/demo/{name}_patchconvnet-tiny_nuclei.py')
    shrink(cfg.model)
    host = SimpleNamespace(module=build_model(cfg), kind=Detection, palette=None)
    with pytest.raises(ValueError, match=r'cannot be exported .*FeatureGraph'):
        write_checked(host, tmp_path / 'a.onnx')
    assert not list(tmp_path.iterdir())
