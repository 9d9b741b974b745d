"""TransCNN and H-MHSA folded for inference return the same."""

import re

import pytest
import torch
from small_models import FIRST_RELEASE, HAT_NET
from torch import nn

from mmpatchconvnet import HMHSA, TransCNN
from mmpatchconvnet.compat import processor
from mmpatchconvnet.deploy import switch_to_deploy
from mmpatchconvnet.models import backbone as backbones
from mmpatchconvnet.models import transcnn_folded
from mmpatchconvnet.models.transcnn_folded import FoldedAttention, FoldedTransCNNBlock

RELEASES = pytest.mark.parametrize(
    'arch', [FIRST_RELEASE, HAT_NET], ids=['first', 'revised']
)
ALL = (0, 1, 2, 3)


def shake(model: nn.Module) -> nn.Module:
    """Weights and statistics with which a wrong fold changes the results."""
    torch.manual_seed(0)
    for name, value in model.state_dict().items():
        if 'running_var' in name:
            value.uniform_(0.5, 2)
        elif value.is_floating_point():
            value.add_(torch.empty_like(value).normal_(std=0.05))
    return model.eval()


def assert_close(ours: tuple, theirs: tuple, tolerance: float = 1e-5) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        error = (a.float() - b).abs().max() / b.abs().max()
        assert error <= tolerance


@pytest.mark.parametrize('library', processor.product_libraries())
@pytest.mark.parametrize(
    'norm_cfg', [None, dict(type='BN'), dict(type='GN', num_groups=2)]
)
@RELEASES
def test_returns_the_same(arch, norm_cfg, library, choose_library):
    choose_library(library)
    model = shake(
        TransCNN(arch, out_indices=ALL, drop_path_rate=0.3, norm_cfg=norm_cfg)
    )
    x = torch.randn(2, 3, 70, 100)
    with torch.no_grad():
        before = model(x)
        model.switch_to_deploy()
        assert_close(model(x), before)
        model.switch_to_deploy()  # a second time changes nothing
        assert_close(model(x), before)
    blocks = [block for stage in model.stages for block in stage.blocks]
    assert {type(block) for block in blocks} == {FoldedTransCNNBlock}
    left = {type(m).__name__ for m in model.modules()} & {'BatchNorm2d', 'GroupNorm'}
    merged = (norm_cfg or {}).get('type') == 'BN' or (
        not norm_cfg and arch is FIRST_RELEASE
    )
    assert left == (set() if merged else {'GroupNorm'})
    assert not [p for p in model.parameters() if p.requires_grad]


@RELEASES
def test_a_batch_in_parts_returns_the_same(arch, monkeypatch):
    model = shake(TransCNN(arch, out_indices=ALL))
    x = torch.randn(5, 3, 70, 100)
    cells, width = 18 * 25, 16  # of the first stage, after expansion
    monkeypatch.setattr(transcnn_folded, 'EXPANDED', 2 * cells * width * 4)
    split = []
    run_part = transcnn_folded.FoldedFeedForward.run_part
    monkeypatch.setattr(
        transcnn_folded.FoldedFeedForward,
        'run_part',
        lambda self, x: split.append(len(x)) or run_part(self, x),
    )
    with torch.no_grad():
        before = model(x)
        assert_close(switch_to_deploy(model)(x), before)
        assert split[:4] == [2, 2, 1, 5]
        model(x[:0])


@RELEASES
def test_the_image_gets_the_same_gradient(arch):
    model = shake(TransCNN(arch))
    x = torch.randn(2, 3, 70, 50, requires_grad=True)
    (before,) = torch.autograd.grad(model(x)[0].sin().sum(), x)
    model.switch_to_deploy()
    (after,) = torch.autograd.grad(model(x)[0].sin().sum(), x)
    assert (after - before).abs().max() <= 1e-4 * before.abs().max()


@RELEASES
def test_half_precision_is_close(arch):
    model = shake(TransCNN(arch, out_indices=ALL))
    x = torch.randn(1, 3, 70, 100)
    with torch.no_grad():
        exact = model(x)
        maps = switch_to_deploy(model, torch.bfloat16)(x)
        assert {y.dtype for y in maps} == {torch.bfloat16}
        assert_close(maps, exact, 5e-2)
        with torch.autocast('cpu', torch.bfloat16):
            assert_close(model(x), exact, 5e-2)


class Doubled(torch.nn.Conv2d):
    def forward(self, x):
        return super().forward(x) * 2


def replace_block(model):
    model.stages[1].blocks[0] = type('Other', (nn.Identity,), {})()


def replace_attention(model):
    model.stages[1].blocks[0].attn = nn.Identity()


def replace_part(model):
    model.stages[1].blocks[0].attn.proj = Doubled(8, 8, 1)


def wrap_convolution(model):
    ffn = model.stages[1].blocks[0].ffn
    ffn.expand = nn.Sequential(ffn.expand)


def wrap_stem(model):
    model.stem.conv1 = nn.Sequential(model.stem.conv1)


def pad_in_circles(model):
    model.stages[1].blocks[0].ffn.depthwise.padding_mode = 'circular'


def watch_norm(model):
    model.stages[1].blocks[0].ffn.norm_out.register_forward_hook(lambda *_: None)


def subclass_stem(model):
    model.stem.__class__ = type('Other', (type(model.stem),), {})


def watch_step(model):
    model.stages[2].downsample.register_forward_hook(lambda *_: None)


@pytest.mark.parametrize(
    ('change', 'line'),
    [
        (replace_block, r'1 of 7 blocks \(Other may'),
        (replace_attention, r'1 of 7 blocks \(Identity may'),
        (replace_part, r'1 of 7 blocks \(Doubled may'),
        (wrap_convolution, r'1 of 7 blocks \(Sequential may'),
        (wrap_stem, r'the stem \(Sequential may'),
        (pad_in_circles, r'1 of 7 blocks \(ffn.depthwise has other settings'),
        (watch_norm, r'1 of 7 blocks \(hooks would be lost'),
        (subclass_stem, r'the stem \(Other may'),
        (watch_step, r'1 of 3 steps between stages \(hooks would be lost'),
    ],
)
@RELEASES
def test_what_may_compute_otherwise_is_left_and_named(arch, change, line, monkeypatch):
    lines = []
    monkeypatch.setattr(backbones, 'print_log', lambda text, _: lines.append(text))
    model = shake(TransCNN(arch, out_indices=ALL))
    change(model)
    x = torch.randn(2, 3, 48, 80)
    with torch.no_grad():
        before = model(x)
        assert_close(switch_to_deploy(model)(x), before)
    assert len(lines) == 1 and re.search(line, lines[0])


@pytest.mark.parametrize('norm_cfg', [None, dict(type='BN')])
@pytest.mark.parametrize(('grid_size', 'pool_ratio'), [(3, 2), (1, 1)])
def test_a_plugin_is_folded_with_its_gamma(grid_size, pool_ratio, norm_cfg):
    layer = HMHSA(8, 4, grid_size, pool_ratio, norm_cfg)
    shake(layer)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), layer, layer).eval()
    x = torch.randn(2, 3, 13, 9)
    with torch.no_grad():
        before = model(x)
        switch_to_deploy(model)
        assert_close((model(x),), (before,))
        switch_to_deploy(model)  # a second time changes nothing
        assert_close((model(x),), (before,))
    assert type(layer.attn) is FoldedAttention
    with pytest.raises(ValueError, match='HMHSA got a tensor'):
        layer(x)


def test_a_layer_alone_is_folded():
    layer, x = shake(HMHSA(8, 4, 3, 2)), torch.randn(2, 8, 13, 9)
    with torch.no_grad():
        before = layer(x)
        assert_close((switch_to_deploy(layer)(x),), (before,))
