"""Models folded for inference return the same results at less cost."""

import pickle
import shutil
from copy import deepcopy
from types import MethodType
from typing import Any

import pytest
import torch
from mmengine.registry import init_default_scope
from small_models import HAT_NET
from torch import nn
from torch._dynamo.utils import counters

from mmpatchconvnet import PatchConvNet, TransCNN, deploy
from mmpatchconvnet.config_files import read_config
from mmpatchconvnet.deploy import switch_to_deploy
from mmpatchconvnet.experiments.benchmark.batches import batch_of
from mmpatchconvnet.experiments.benchmark.choices import CONFIGS
from mmpatchconvnet.experiments.complexity import build_model, count_macs
from mmpatchconvnet.models.block.folded import FoldedBlock, FoldedModule
from mmpatchconvnet.registry import MODELS

ARCH = dict(embed_dims=32, depth=4, layer_scale_init_value=0.5)
STEM = dict(stem_indices=(1, 2))
COLUMN = dict(type='mmpatchconvnet.PatchConvNet', arch=ARCH, out_indices=(0, 1, 2, 3))
PYRAMID = dict(type='mmpatchconvnet.DeconvPyramid', in_channels=32)
FPN = dict(type='FPN', in_channels=[32] * 4, out_channels=16, num_outs=5)


def shake(model: nn.Module) -> nn.Module:
    """Weights and statistics with which a wrong fold changes the results."""
    torch.manual_seed(0)
    for name, value in model.state_dict().items():
        if 'running_var' in name:
            value.uniform_(0.5, 2)
        elif value.is_floating_point():
            value.add_(torch.empty_like(value).normal_(std=0.1))
    return model.eval()


def assert_close(ours: tuple, theirs: tuple) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()


@pytest.mark.parametrize('norm_cfg', [None, dict(type='BN')])
@pytest.mark.parametrize('folded', [False, True])
def test_a_traced_onnx_file_takes_other_sizes(folded, norm_cfg, tmp_path):
    """Through TorchScript, whose tracing keeps every size that is read as a number."""
    runtime = pytest.importorskip('onnxruntime')
    column = shake(PatchConvNet(dict(ARCH, depth=2), norm_cfg=norm_cfg))
    if folded:
        column.switch_to_deploy()
    file = str(tmp_path / 'column.onnx')
    axes = dict(x={0: 'batch', 2: 'height', 3: 'width'})
    with torch.no_grad():
        x = torch.randn(1, 3, 32, 48)
        torch.onnx.export(
            *(column, (x,), file),
            **(dict(dynamo=False) if torch.__version__ >= '2.5' else {}),
            input_names=['x'],
            dynamic_axes=axes,
        )
        session = runtime.InferenceSession(file, providers=['CPUExecutionProvider'])
        for shape in ((1, 3, 32, 48), (2, 3, 80, 40)):
            x = torch.randn(shape)
            (given,) = session.run(None, dict(x=x.numpy()))
            assert_close((torch.from_numpy(given),), column(x))


@pytest.mark.parametrize(
    'norm_cfg', [None, *(dict(type='BN', affine=affine) for affine in (True, False))]
)
def test_a_folded_column_computes_the_same(norm_cfg):
    settings = dict(out_indices=(0, -1), drop_path_rate=0.3, norm_cfg=norm_cfg)
    column = shake(PatchConvNet(ARCH, **settings, **STEM))
    x = torch.randn(2, 3, 70, 100)
    with torch.no_grad():
        before = column(x)
        column.switch_to_deploy()
        assert {type(block) for block in column.blocks} == {FoldedBlock}
        assert_close(column(x), before)
        column.switch_to_deploy()  # a second time changes nothing
        assert_close(column(x), before)
    assert not [p for p in column.parameters() if p.requires_grad]


def test_backbones_are_folded_on_torch_2_4_too(monkeypatch):
    monkeypatch.delattr(nn.Module, 'set_submodule', raising=False)
    for model in (PatchConvNet(dict(ARCH, depth=1)), TransCNN(HAT_NET)):
        model.switch_to_deploy()
        assert any(isinstance(part, FoldedModule) for part in model.modules())


def test_a_folded_column_in_autocast_runs_in_its_dtype():
    column = shake(PatchConvNet(ARCH))
    x = torch.randn(1, 3, 48, 64)
    with torch.no_grad():
        exact = column(x)[0]
        column.switch_to_deploy()
        with torch.autocast('cpu', torch.bfloat16):
            ours = column(x)[0]
    assert 1e-4 < (ours - exact).abs().max() / exact.abs().max() < 5e-2


@pytest.mark.det
def test_compiled_ops_get_contiguous_maps(monkeypatch):
    x, layouts = torch.randn(1, 3, 64, 96), []
    for compiled in (False, True):
        monkeypatch.setattr(deploy, 'ops_are_compiled', lambda: compiled)  # noqa: B023
        model = detector(PYRAMID, FPN)
        model.extract_feat = model.forward
        with torch.no_grad():
            maps = switch_to_deploy(model).extract_feat(x)
        layouts.append({y.is_contiguous() for y in maps[:3]})
    assert layouts == [{False}, {True}]


@pytest.mark.det
def test_compiled_ops_keep_autocast_and_other_values(monkeypatch):
    monkeypatch.setattr(deploy, 'ops_are_compiled', lambda: True)
    model, x = detector(PYRAMID, FPN), torch.randn(1, 3, 64, 96)
    model.extract_feat = lambda x: dict(maps=model(x), name='x')
    with torch.no_grad():
        exact = model(x)
        switch_to_deploy(switch_to_deploy(model), torch.bfloat16)
        features = model.extract_feat(x)
    assert features['name'] == 'x'
    for a, b in zip(features['maps'], exact, strict=True):
        assert a.is_contiguous() and a.dtype == torch.float32
        assert 1e-5 < (a - b).abs().max() / b.abs().max() < 5e-2


def test_a_folded_column_alone_runs_in_half_precision():
    column = switch_to_deploy(shake(PatchConvNet(ARCH)), torch.bfloat16)
    assert column(torch.randn(1, 3, 48, 64))[0].dtype == torch.bfloat16


def test_a_folded_column_can_be_traced():
    column = switch_to_deploy(shake(PatchConvNet(ARCH)))
    x = torch.randn(1, 3, 48, 64)
    assert_close(torch.jit.trace(column, x)(x), column(x))


@pytest.mark.slow
def test_one_compiled_code_serves_all_blocks_and_sizes():
    if shutil.which('g++') is None:
        pytest.skip('no g++, which torch.compile needs on a CPU')
    column = shake(PatchConvNet(ARCH))
    images = [torch.randn(1, 3, *size) for size in ((64, 96), (96, 64), (128, 160))]
    with torch.no_grad():
        before = [column(x)[0] for x in images]
        column.switch_to_deploy()
        torch.compiler.reset()
        counters.clear()
        for block in column.blocks:
            block.compile(dynamic=True)
        assert_close([column(x)[0] for x in images], before)
    assert counters['stats']['unique_graphs'] == 1


def test_a_wrong_dtype_changes_nothing():
    column = PatchConvNet(ARCH)
    with pytest.raises(ValueError, match=r"dtype='bfloat16'.*: give torch.float32"):
        switch_to_deploy(column, 'bfloat16')
    assert column.training


def detector(pyramid: dict, fpn: dict) -> nn.Module:
    import mmdet.models  # noqa: F401 (fills the registry)

    init_default_scope('mmdet')
    model = nn.Module()
    stem_indices = (1, 2) if 'stem_channels' in pyramid else ()
    model.backbone = MODELS.build(dict(COLUMN, stem_indices=stem_indices))
    model.neck = nn.Sequential(
        MODELS.build(pyramid), MODELS.build(dict(fpn, _scope_='mmdet'))
    )
    model.forward = lambda x: model.neck(model.backbone(x))
    return shake(model)


@pytest.mark.det
@pytest.mark.parametrize(
    'fpn',
    [
        {},
        dict(norm_cfg=dict(type='BN')),
        dict(norm_cfg=dict(type='GN', num_groups=4), act_cfg=dict(type='ReLU')),
        dict(start_level=1, add_extra_convs='on_input'),
    ],
)
@pytest.mark.parametrize('stem_channels', [(), (8, 16)])
def test_a_detector_returns_the_same(stem_channels, fpn):
    pyramid = dict(PYRAMID, stem_channels=stem_channels) if stem_channels else PYRAMID
    model = detector(pyramid, dict(FPN, **fpn))
    x = torch.randn(2, 3, 70, 100)  # not a multiple of 32: the stem's maps are padded
    with torch.no_grad():
        before = model(x)
        assert_close(switch_to_deploy(model)(x), before)
    merged = fpn.get('start_level', 0) == 0
    deconv = model.neck[0].levels[0].up2
    assert deconv.out_channels == (16 if merged else 32)


@pytest.mark.det
def test_a_detector_in_bfloat16_has_its_boxes_in_float32():
    cfg = read_config(CONFIGS['detector']['s60'])
    cfg.model.backbone.update(arch=ARCH, out_indices=(0, 1, 2, 3))
    cfg.model.neck[0].in_channels = 32
    cfg.model.neck[1].in_channels = [32] * 4
    # Some processors are slow at convolutions in bfloat16.
    cfg.model.test_cfg.rpn.max_per_img = 20
    cfg.model.test_cfg.rcnn.max_per_img = 5
    model = shake(build_model(cfg))
    batch = model.data_preprocessor(batch_of('mmdet', 1, 64, 96), False)
    dtypes = {}
    switch_to_deploy(model, torch.bfloat16)
    model = deepcopy(model)  # must not call parts of the first
    layers = {
        'block': model.backbone.blocks[1],
        'pyramid': model.neck[0],
        'rpn': model.rpn_head.rpn_conv,
        'boxes': model.roi_head.bbox_head.fc_reg,
        'mask': model.roi_head.mask_head.convs[0],
    }
    for name, layer in layers.items():
        layer.register_forward_hook(
            lambda _, x, y, name=name: dtypes.update(
                {name: y[0].dtype if isinstance(y, tuple) else y.dtype}
            )
        )
    with torch.no_grad():
        maps = model.extract_feat(batch['inputs'])
        (found,) = model(**batch, mode='predict')
    assert dtypes == dict.fromkeys(layers, torch.bfloat16)
    assert {x.dtype for x in maps} == {torch.float32}
    assert len(found.pred_instances)
    for name in ('bboxes', 'scores'):
        assert found.pred_instances[name].dtype == torch.float32


@pytest.mark.det
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_is_close(dtype):
    def extract_feat(self: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self(x)

    model = detector(PYRAMID, FPN)
    model.extract_feat = MethodType(extract_feat, model)
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        exact = model(x)
        switch_to_deploy(model, dtype)
        for a, b in zip(model.extract_feat(x), exact, strict=True):
            assert a.dtype == torch.float32
            assert 1e-5 < (a - b).abs().max() / b.abs().max() < 5e-2


@pytest.mark.det
@pytest.mark.parametrize(
    'pyramid',
    [
        dict(PYRAMID, norm_cfg=dict(type='GN', num_groups=4), stem_channels=(8, 16)),
        dict(type='mmpatchconvnet.SimplePyramid', in_channels=32),
        dict(type='mmpatchconvnet.ResizePyramid', in_channels=32),
    ],
)
def test_what_cannot_be_merged_stays_as_it_is(pyramid):
    model = detector(pyramid, FPN)
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        before = model(x)
        assert_close(switch_to_deploy(model)(x), before)
    assert isinstance(model.neck[1].lateral_convs[0].conv, nn.Conv2d)


def segmentor(auxiliary_head: dict | None = None, **head: Any) -> nn.Module:
    import mmseg.models  # noqa: F401 (fills the registry)

    init_default_scope('mmseg')
    torch.manual_seed(0)
    shared = dict(num_classes=3, norm_cfg=dict(type='BN'), align_corners=False)
    head = dict(in_index=[0, 1, 2, 3], channels=16) | head
    widths = [32] * len(head['in_index'])
    head = dict(type='UPerHead') | head
    head.update(in_channels=widths, pool_scales=(1, 2), **shared)
    model = MODELS.build(
        dict(
            type='EncoderDecoder',
            _scope_='mmseg',
            backbone=dict(COLUMN, **STEM),
            neck=dict(PYRAMID, stem_channels=(8, 16)),
            decode_head=dict(head, _scope_='mmseg'),
            auxiliary_head=auxiliary_head and dict(auxiliary_head, **shared),
            test_cfg=dict(mode='whole'),
        )
    )
    return shake(model)


@pytest.mark.seg
def test_a_segmentor_returns_the_same_at_less_cost():
    model = segmentor()
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        before, macs = model(x), macs_of(model)
        assert_close([switch_to_deploy(model)(x)], [before])
    # At stride 4 and 8: no lateral, a transposed convolution and a projection of the
    # stem's map that are half as wide as they were. The head saves more.
    saved = [cells * (2 * 32 * 16 + stem * 16) for cells, stem in ((384, 8), (96, 16))]
    assert macs - macs_of(model) > sum(saved)


@pytest.mark.seg
@pytest.mark.parametrize('head', ['UPerHead', 'mmpatchconvnet.FastUPerHead'])
@pytest.mark.parametrize('channels', [16, 32])
def test_a_head_that_skips_levels_returns_the_same(channels, head):
    model = segmentor(type=head, in_index=[1, 2, 3], channels=channels)
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        before = model(x)
        assert_close([switch_to_deploy(model)(x)], [before])
    first, second, *_ = model.neck.levels
    assert (first.up2.out_channels, second.up.out_channels) == (32, channels)


@pytest.mark.seg
@pytest.mark.parametrize('as_list', [False, True])
def test_a_level_that_an_auxiliary_head_reads_too_is_not_merged(monkeypatch, as_list):
    lines = []
    monkeypatch.setattr(deploy, 'print_log', lambda line, _: lines.append(line))
    model = segmentor(dict(type='FCNHead', in_channels=32, in_index=1, channels=8))
    if as_list:
        model.auxiliary_head = nn.ModuleList([model.auxiliary_head])
    heads = [model.decode_head, *([*model.auxiliary_head] if as_list else [])]
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        before = [head(model.extract_feat(x)) for head in heads]
        switch_to_deploy(model)
        assert_close([head(model.extract_feat(x)) for head in heads], before)
    assert [level[-1].out_channels for level in model.neck.levels[:2]] == [16, 32]
    assert len(lines) == 1 and 'level 1: ' in lines[0]


@pytest.mark.seg
def test_a_second_call_refines_the_first():
    direct, refined = segmentor(), segmentor()
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = switch_to_deploy(direct, torch.bfloat16)(x)
        for dtype in (torch.float32, None, torch.bfloat16, torch.bfloat16, None):
            switch_to_deploy(refined, dtype)
        assert torch.equal(refined(x), expected)
        copies = [deepcopy(refined), pickle.loads(pickle.dumps(refined))]
        refined.requires_grad_(False).apply(zero_weights)  # the copies have their own
        for copy in copies:
            assert torch.equal(copy(x), expected)
            assert torch.equal(switch_to_deploy(copy, torch.bfloat16)(x), expected)
    for dtype in (torch.float32, torch.float16):
        with pytest.raises(ValueError, match=f'{dtype} .* rounded to torch.bfloat16.*'):
            switch_to_deploy(copies[0], dtype)


def zero_weights(module: nn.Module) -> None:
    for parameter in module.parameters(recurse=False):
        parameter.zero_()


@pytest.mark.det
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_a_detector_without_fpn_returns_the_same(dtype):
    cfg = read_config(CONFIGS['detector']['s60'])
    cfg.model.backbone.update(arch=ARCH, out_indices=(0, 1, 2, 3))
    cfg.model.neck = [dict(PYRAMID, scales=(4, 2, 1, 0.5), _scope_='mmpatchconvnet')]
    cfg.model.rpn_head.update(in_channels=32)
    model = shake(build_model(cfg))
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        before = model.rpn_head(model.extract_feat(x))
        switch_to_deploy(model, dtype)
        after = model.rpn_head(model.extract_feat(x))
    for ours, theirs in zip(after[0], before[0], strict=True):
        tolerance = 1e-5 if dtype == torch.float32 else 5e-2
        assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


def macs_of(model: nn.Module) -> int:
    return count_macs(deepcopy(model).to('meta'), 64, 96)
