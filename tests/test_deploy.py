"""Models folded for inference answer as before, at less cost."""

import shutil
from copy import deepcopy
from types import MethodType

import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn
from torch._dynamo.utils import counters

from mmpatchconvnet import PatchConvNet, deploy
from mmpatchconvnet.deploy import switch_to_deploy
from mmpatchconvnet.experiments.benchmark.batches import batch_of
from mmpatchconvnet.experiments.benchmark.subjects import CONFIGS, load
from mmpatchconvnet.experiments.complexity import build_model, count_macs
from mmpatchconvnet.models.block import onednn
from mmpatchconvnet.registry import MODELS

ARCH = dict(embed_dims=32, depth=4, layer_scale_init_value=0.5)
STEM = dict(stem_indices=(1, 2))
COLUMN = dict(type='mmpatchconvnet.PatchConvNet', arch=ARCH, out_indices=(0, 1, 2, 3))
PYRAMID = dict(type='mmpatchconvnet.DeconvPyramid', in_channels=32)
FPN = dict(type='FPN', in_channels=[32] * 4, out_channels=16, num_outs=5)


def shake(model: nn.Module) -> nn.Module:
    """Weights and statistics that none of the folds can pass over unseen."""
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
def test_a_column_answers_as_before(norm_cfg):
    settings = dict(out_indices=(0, -1), drop_path_rate=0.3, norm_cfg=norm_cfg)
    column = shake(PatchConvNet(ARCH, **settings, **STEM))
    x = torch.randn(2, 3, 70, 100)
    with torch.no_grad():
        before = column(x)
        column.switch_to_deploy()
        assert_close(column(x), before)
        column.switch_to_deploy()  # a second time changes nothing
        assert_close(column(x), before)
    assert not [p for p in column.parameters() if p.requires_grad]


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
# One large picture has the gate in the weight, others in the map.
@pytest.mark.parametrize('size', [(2, 7, 5), (1, 1, 1), (1, 16, 16), (2, 16, 16)])
def test_onednn_answers_as_torch_does(dtype, size):
    column = shake(PatchConvNet(ARCH))
    column.switch_to_deploy()
    block = column.blocks[0].to(dtype)
    x = torch.randn(*size, 32).to(dtype)  # tokens (B, H, W, C)
    if not onednn.can_run(x, block.linear_in.weight):
        pytest.skip(f'oneDNN has no {dtype} on this CPU')
    ours, theirs = block.run_onednn(x, x.sin()), block.run_eager(x, x.sin())
    assert ours.dtype == theirs.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


def test_a_folded_column_is_differentiable_in_its_image():
    column = shake(PatchConvNet(ARCH))
    x = torch.randn(1, 3, 48, 64, requires_grad=True)
    (before,) = torch.autograd.grad(column(x)[0].sin().sum(), x)
    column.switch_to_deploy()
    (after,) = torch.autograd.grad(column(x)[0].sin().sum(), x)
    assert (after - before).abs().max() <= 1e-4 * before.abs().max()


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
    with pytest.raises(ValueError, match="dtype='bfloat16' is no dtype to run in"):
        switch_to_deploy(column, 'bfloat16')
    assert column.training


def test_a_norm_that_cannot_be_folded_is_named():
    column = PatchConvNet(ARCH, norm_cfg=dict(type='GN', num_groups=4))
    with pytest.raises(ValueError, match=r'GroupNorm cannot be folded .* LayerNorm or'):
        column.switch_to_deploy()


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
def test_a_detector_answers_as_before(stem_channels, fpn):
    pyramid = dict(PYRAMID, stem_channels=stem_channels) if stem_channels else PYRAMID
    model = detector(pyramid, dict(FPN, **fpn))
    x = torch.randn(2, 3, 70, 100)  # no multiple of 32: the stem's maps are padded
    with torch.no_grad():
        before = model(x)
        assert_close(switch_to_deploy(model)(x), before)
    merged = fpn.get('start_level', 0) == 0
    deconv = model.neck[0].levels[0].up2
    assert deconv.out_channels == (16 if merged else 32)


@pytest.mark.det
def test_a_detector_in_bfloat16_has_its_boxes_in_float32():
    cfg = load(CONFIGS['detector']['s60'])
    cfg.model.backbone.update(arch=ARCH, out_indices=(0, 1, 2, 3))
    cfg.model.neck[0].in_channels = 32
    cfg.model.neck[1].in_channels = [32] * 4
    model = shake(build_model(cfg))
    batch = model.data_preprocessor(batch_of('mmdet', 1, 64, 96), False)
    dtypes = {}
    switch_to_deploy(model, torch.bfloat16)
    model = deepcopy(model)  # must not go on with the parts of the first
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
    assert type(model.neck[1].lateral_convs[0]).__name__ == 'ConvModule'


@pytest.mark.seg
def test_a_segmentor_answers_as_before_and_costs_less():
    import mmseg.models  # noqa: F401 (fills the registry)

    init_default_scope('mmseg')
    head = dict(in_index=[0, 1, 2, 3], in_channels=[32] * 4, channels=16, num_classes=3)
    head = dict(head, type='UPerHead', norm_cfg=dict(type='BN'), _scope_='mmseg')
    model = MODELS.build(
        dict(
            type='EncoderDecoder',
            _scope_='mmseg',
            backbone=dict(COLUMN, **STEM),
            neck=dict(PYRAMID, stem_channels=(8, 16)),
            decode_head=dict(head, pool_scales=(1, 2), align_corners=False),
            test_cfg=dict(mode='whole'),
        )
    )
    shake(model)
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        before, macs = model(x), macs_of(model)
        assert_close([switch_to_deploy(model)(x)], [before])
    # At stride 4 and 8: no lateral, a transposed convolution and a projection of the
    # stem's map that are half as wide as they were.
    saved = [cells * (2 * 32 * 16 + stem * 16) for cells, stem in ((384, 8), (96, 16))]
    assert macs - macs_of(model) == sum(saved)


def macs_of(model: nn.Module) -> int:
    return count_macs(deepcopy(model).to('meta'), 64, 96)
