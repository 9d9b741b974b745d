"""The pyramids: levels, stem maps, gradients, wrong input."""

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.registry import DefaultScope

from mmpatchconvnet import DeconvPyramid, PatchConvNet, ResizePyramid, SimplePyramid
from mmpatchconvnet.models.layers import LayerNorm2d

PYRAMIDS = [DeconvPyramid, SimplePyramid, ResizePyramid]
STEM = dict(stem_channels=(4, 8))


def taps(number: int = 4, height: int = 5, width: int = 3) -> list[torch.Tensor]:
    return list(torch.rand(number, 2, 16, height, width))


@pytest.mark.parametrize('pyramid', PYRAMIDS)
@pytest.mark.parametrize('scales', [(4, 2, 1, 0.5), (0.5, 2), (1,)])
def test_levels_have_the_size_of_their_scale(pyramid, scales):
    levels = pyramid(16, scales=scales)(taps(len(scales)))
    rounded_up = [(-(-int(5 * s * 2) // 2), -(-int(3 * s * 2) // 2)) for s in scales]
    assert [x.shape for x in levels] == [(2, 16, *size) for size in rounded_up]


@pytest.mark.parametrize('pyramid', PYRAMIDS)
@pytest.mark.parametrize('size', [(1, 1), (17, 100), (64, 64), (31, 33)])
def test_after_a_column_with_stem_maps_for_any_image(pyramid, size):
    column = PatchConvNet(
        dict(embed_dims=16, depth=4), out_indices=(0, 1, 2, 3), stem_indices=(1, 2)
    ).eval()
    neck = pyramid(16, **STEM).eval()
    with torch.no_grad():
        levels = neck(column(torch.rand(1, 3, *size)))
    cells = [-(-side // 16) for side in size]
    for x, scale in zip(levels, (4, 2, 1, 0.5), strict=True):
        assert x.shape[2:] == tuple(-int(-side * scale // 1) for side in cells)


@pytest.mark.parametrize('pyramid', PYRAMIDS)
@pytest.mark.parametrize('stem', [{}, STEM])
def test_every_parameter_gets_a_gradient(pyramid, stem):
    neck = pyramid(16, **stem)
    stem_maps = [torch.rand(2, 4, 20, 12), torch.rand(2, 8, 10, 6)] if stem else []
    inputs = [x.requires_grad_() for x in (*stem_maps, *taps())]
    sum(x.square().mean() for x in neck(inputs)).backward()
    assert not [n for n, p in neck.named_parameters() if p.grad is None]


@pytest.mark.parametrize('pyramid', PYRAMIDS)
def test_stem_maps_change_their_own_level_only(pyramid):
    neck = pyramid(16, **STEM, norm_cfg=dict(type='BN')).eval()
    fine, finer = torch.rand(2, 4, 20, 12), torch.rand(2, 8, 10, 6)
    inputs = taps()
    before = neck([fine, finer, *inputs])
    after = neck([fine + 1, finer, *inputs])
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [
        False,
        True,
        True,
        True,
    ]
    # In eval mode a new BatchNorm only divides by the root of 1 + its eps.
    weight = neck.stem_projections[0].conv.weight.sum((1, 2, 3)) / (1 + 1e-5) ** 0.5
    added = after[0] - before[0]
    torch.testing.assert_close(added, weight.view(-1, 1, 1).expand_as(added))


def test_a_stem_map_that_is_smaller_by_rounding_is_padded():
    neck = ResizePyramid(16, scales=(4,), stem_channels=(4,))
    (tap,) = taps(1, 1, 1)
    (level,) = neck([torch.rand(2, 4, 2, 3), tap])
    torch.testing.assert_close(level[:, :, 2:], tap.expand(-1, -1, 2, 4))
    torch.testing.assert_close(level[:, :, :, 3:], tap.expand(-1, -1, 4, 1))
    assert not torch.allclose(level[:, :, :2, :3], tap.expand(-1, -1, 2, 3))


def test_one_stem_map_can_be_added_to_its_level():
    neck = DeconvPyramid(16, stem_channels=(8,), stem_scales=(2,))
    stem_map = torch.rand(2, 8, 10, 6)
    assert len(neck([stem_map, *taps()])) == 4
    wrong = DeconvPyramid(16, stem_channels=(8,))
    with pytest.raises(
        ValueError, match=r'stem map of \(10, 6\) to its level of scale 4'
    ):
        wrong([stem_map, *taps()])


@pytest.mark.parametrize('pyramid', [DeconvPyramid, SimplePyramid])
def test_out_channels(pyramid):
    levels = pyramid(16, out_channels=24, norm_cfg=dict(type='GN', num_groups=4))(
        taps()
    )
    assert [x.shape[1] for x in levels] == [24] * 4


@pytest.mark.parametrize(
    'scope',
    [
        'mmengine',
        pytest.param('mmdet', marks=pytest.mark.det),
        pytest.param('mmseg', marks=pytest.mark.seg),
        pytest.param('mmpretrain', marks=pytest.mark.cls),
    ],
)
def test_layer_norm_is_built_by_name_in_every_host(scope):
    cfg = dict(type='mmpatchconvnet.LayerNorm2d', eps=1e-3)
    with DefaultScope.overwrite_default_scope(scope):
        name, norm = build_norm_layer(cfg, 16, postfix=1)
    assert (name, type(norm), norm.eps) == ('ln1', LayerNorm2d, 1e-3)
    x = torch.rand(2, 16, 3, 5)
    exact = F.layer_norm(x.permute(0, 2, 3, 1), (16,), eps=1e-3).permute(0, 3, 1, 2)
    torch.testing.assert_close(norm(x), exact)


@pytest.mark.parametrize(
    ('pyramid', 'norm'),
    [
        (DeconvPyramid, torch.nn.BatchNorm2d),
        (SimplePyramid, LayerNorm2d),
        (ResizePyramid, torch.nn.BatchNorm2d),
    ],
)
def test_default_norms_are_those_of_the_recipe(pyramid, norm):
    def norms(**settings) -> set[type]:
        modules = pyramid(16, **STEM, **settings).modules()
        return {type(m) for m in modules if 'Norm' in type(m).__name__}

    assert norms() == {norm}
    assert norms(norm_cfg=dict(type='GN', num_groups=4)) == {torch.nn.GroupNorm}


def test_simple_pyramid_uses_only_the_last_tap():
    neck = SimplePyramid(16).eval()
    inputs = taps()
    alone, among_four = neck(inputs[-1:]), neck(inputs)
    assert all(torch.equal(a, b) for a, b in zip(alone, among_four, strict=True))


def test_deconv_pyramid_uses_one_tap_per_level():
    neck = DeconvPyramid(16).eval()
    inputs = taps()
    before = neck(inputs)
    inputs[2] = inputs[2] + 1
    changed = [not torch.equal(a, b) for a, b in zip(before, neck(inputs), strict=True)]
    assert changed == [False, False, True, False]


def test_resize_pyramid_has_no_parameters_and_keeps_a_constant():
    neck = ResizePyramid(16)
    assert not list(neck.parameters())
    for level in neck(list(torch.ones(4, 1, 16, 5, 3))):
        torch.testing.assert_close(level, torch.ones_like(level))


@pytest.mark.parametrize('pyramid', PYRAMIDS)
def test_wrong_input_is_named(pyramid):
    name = pyramid.__name__
    with pytest.raises(ValueError, match=rf'{name} cannot make scales=\(3, 1\)'):
        pyramid(16, scales=(3, 1))
    with pytest.raises(ValueError, match=rf'{name} cannot add stem_channels=\(4,\) to'):
        pyramid(16, stem_channels=(4,), stem_scales=(2, 1))
    with pytest.raises(ValueError, match=rf'{name} got 3 maps but needs'):
        pyramid(16)(taps(3))
    with pytest.raises(
        ValueError, match=rf'{name} got 4 maps but needs .*6 \(2 of the'
    ):
        pyramid(16, **STEM)(taps(4))
    with pytest.raises(ValueError, match=rf'{name} got 1 tensor but needs'):
        pyramid(16)(taps(1)[0])
    with pytest.raises(ValueError, match=rf'{name} cannot make scales=\(2, 2\).*once'):
        pyramid(16, scales=(2, 2))
    with pytest.raises(ValueError, match=r'of \[16, 16, 16, 16\] channels but .* \[32'):
        pyramid(32)(taps())
    with pytest.raises(ValueError, match=r'of \[5, 8, 16, .* but was built for \[4, 8'):
        stem_maps = [torch.rand(2, 5, 20, 12), torch.rand(2, 8, 10, 6)]
        pyramid(16, **STEM)([*stem_maps, *taps()])


def test_resize_pyramid_cannot_change_the_width():
    with pytest.raises(ValueError, match='no parameters to turn 16 channels into'):
        ResizePyramid(16, out_channels=8)
