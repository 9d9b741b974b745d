"""Columns of strides 4 to 32, their pyramids, and weights of other strides."""

import logging
import re
from math import ceil

import pytest
import torch
from goldens import official_state_dict
from mmengine.logging import MMLogger

from mmpatchconvnet import DeconvPyramid, PatchConvNet, ResizePyramid, SimplePyramid
from mmpatchconvnet.checkpoints import CheckpointError, convert_deit_checkpoint

STRIDES = (4, 8, 16, 32)
FIRST = [f'convs.{i}.weight' for i in range(5)]
STEM_KEYS = {
    4: [*FIRST[:2], 'projection.weight'],
    8: [*FIRST[:3], 'projection.weight'],
    16: FIRST[:4],
    32: FIRST,
}


def tiny(patch_size: int, **settings) -> PatchConvNet:
    arch = dict(
        embed_dims=32, depth=4, layer_scale_init_value=0.5, patch_size=patch_size
    )
    torch.manual_seed(0)
    return PatchConvNet(arch, **settings)


@pytest.mark.parametrize('patch_size', STRIDES)
def test_the_stem_has_the_convolutions_of_its_stride(patch_size):
    stem = tiny(patch_size).stem
    assert list(stem.state_dict()) == STEM_KEYS[patch_size]
    official = tiny(32).stem.state_dict()
    for key, value in stem.state_dict().items():
        assert key == 'projection.weight' or value.shape == official[key].shape


@pytest.mark.parametrize('patch_size', STRIDES)
@pytest.mark.parametrize('size', [(1, 1), (33, 100)])
def test_maps_and_levels_have_their_strides_for_any_image(patch_size, size):
    count = {4: 2, 8: 3, 16: 3, 32: 4}[patch_size]
    column = tiny(patch_size, stem_indices=range(count), out_indices=(0, 1, 2, 3))
    maps = column.eval()(torch.rand(1, 3, *size))
    strides = [2, 4, 8, 16][:count] + [patch_size] * 4
    widths = [4, 8, 16, 32][:count] + [32] * 4
    cells = [ceil(side / patch_size) for side in size]
    assert [tuple(x.shape[1:]) for x in maps] == [
        (width, *(ceil(side / s) for side in size))
        for width, s in zip(widths, strides, strict=True)
    ]
    stem = [(i, s) for i, s in enumerate(strides[:count]) if s in (4, 8)]
    for kind in (DeconvPyramid, SimplePyramid, ResizePyramid):
        neck = kind(
            32, stem_channels=[widths[i] for i, _ in stem], patch_size=patch_size
        ).eval()
        levels = neck([*(maps[i] for i, _ in stem), *maps[count:]])
        assert [tuple(x.shape[2:]) for x in levels] == [
            tuple(ceil(n * patch_size / s) for n in cells) for s in STRIDES
        ]


@pytest.mark.parametrize('patch_size', [4, 8, 32])
@pytest.mark.parametrize('pyramid', [DeconvPyramid, SimplePyramid])
def test_every_parameter_gets_a_gradient(patch_size, pyramid):
    column = tiny(patch_size, out_indices=(0, 1, 2, 3), stem_indices=1)
    model = torch.nn.Sequential(
        column, pyramid(32, stem_channels=(8,), patch_size=patch_size)
    )
    sum(x.square().mean() for x in model(torch.rand(2, 3, 64, 64))).backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]


@pytest.mark.parametrize('patch_size', [4, 8, 32])
def test_faster_paths_are_equal(patch_size):
    x = torch.rand(2, 3, 50, 66)
    eager, lean, folded = (
        tiny(patch_size, stem_indices=(0, 1), block_impl=impl)
        for impl in ('eager', 'lean', 'eager')
    )
    folded.switch_to_deploy()
    expected = eager(x)
    for column in (lean, folded):
        for ours, reference in zip(column(x), expected, strict=True):
            torch.testing.assert_close(ours, reference, rtol=1e-5, atol=1e-5)
    sum(y.square().sum() for y in lean(x)).backward()
    sum(y.square().sum() for y in expected).backward()
    for ours, reference in zip(lean.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, reference.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('patch_size', STRIDES)
def test_the_whole_stem_is_the_first_layer_and_can_be_frozen(patch_size):
    column = tiny(patch_size, frozen_stages=0)
    for name, parameter in column.named_parameters():
        in_stem = name.startswith('stem.')
        assert (column.get_layer_depth(name)[0] == 0) == in_stem
        assert parameter.requires_grad != in_stem


@pytest.fixture
def log():
    """The lines that mmengine's logger gets."""
    lines = []

    class Lines(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    handler = Lines()
    logger = MMLogger.get_instance('strides')
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


@pytest.mark.parametrize('source', STRIDES)
@pytest.mark.parametrize('target', STRIDES)
def test_weights_of_another_stride_fit_but_for_the_end_of_the_stem(
    source, target, tmp_path, log
):
    path = tmp_path / 'column.pth'
    weights = {f'backbone.{k}': v for k, v in tiny(source).state_dict().items()}
    torch.save({key: torch.full_like(v, 0.5) for key, v in weights.items()}, path)
    init_cfg = dict(type='Pretrained', checkpoint=str(path), prefix='backbone.')
    column = tiny(target, init_cfg=init_cfg)
    before = {key: value.clone() for key, value in column.state_dict().items()}
    column.init_weights()
    fitting = {*STEM_KEYS[source]} - {'projection.weight'}
    new = {f'stem.{key}' for key in {*STEM_KEYS[target]} - fitting}
    if source == target:
        new = set()
    for key, value in column.state_dict().items():
        assert torch.equal(value, before[key] if key in new else value * 0 + 0.5)
    left_out = {f'stem.{key}' for key in {*STEM_KEYS[source]} - {*STEM_KEYS[target]}}
    said = [line for line in log if 'a column of stride' in line]
    assert len(said) == (source != target)
    for line in said:
        assert (
            f'is of a column of stride {source}, and this one has stride {target}'
            in line
        )
        first, second = line.split(' New and untrained: ')[1].split(' Left out: ')
        assert all(key in first for key in new)
        assert all(key in second for key in left_out)


def test_official_weights_fit_a_shorter_column_of_stride_8(tmp_path, log):
    official = official_state_dict(32, depth=4, classes=10)
    torch.save(dict(model=official), tmp_path / 'official.pth')
    path = f'deit://{tmp_path}/official.pth'
    init_cfg = dict(type='Pretrained', checkpoint=path, prefix='backbone.')
    column = tiny(8, out_indices=(0, 1), init_cfg=init_cfg)
    before = column.stem.projection.weight.clone()
    column.init_weights()
    given = convert_deit_checkpoint(official)
    for key, value in column.state_dict().items():
        new = key == 'stem.projection.weight'
        assert torch.equal(value, before if new else given[f'backbone.{key}'])
    (line,) = (line for line in log if 'a column of stride' in line)
    assert line == (
        f'{path} is of a column of stride 16, and this one has stride 8. New and '
        'untrained: stem.projection.weight. Left out: stem.convs.3.weight. All else is '
        'loaded.'
    )


def test_other_keys_must_still_fit(tmp_path):
    path = tmp_path / 'column.pth'
    weights = tiny(16).state_dict()
    del weights['blocks.1.gamma']
    torch.save(weights, path)
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    with pytest.raises(CheckpointError, match=r'misses the 1 keys blocks\.1\.gamma'):
        tiny(8, init_cfg=init_cfg).init_weights()
    weights['blocks.1.gamma'] = torch.zeros(32)
    del weights['stem.convs.0.weight']
    torch.save(weights, path)
    with pytest.raises(CheckpointError, match=r'misses the 2 keys .*convs\.0'):
        tiny(8, init_cfg=init_cfg).init_weights()


def test_a_new_end_of_the_stem_cannot_be_frozen(tmp_path):
    path = tmp_path / 'column.pth'
    torch.save(tiny(16).state_dict(), path)
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    with pytest.raises(CheckpointError, match=r'frozen_stages=0 freezes it untrained'):
        tiny(8, init_cfg=init_cfg, frozen_stages=0).init_weights()


@pytest.mark.parametrize('patch_size', [2, 12, 64])
def test_a_stride_that_no_stem_has_is_named(patch_size):
    with pytest.raises(ValueError, match=rf'patch_size={patch_size} .*4, 8, 16, 32'):
        tiny(patch_size)


def test_a_stem_map_that_a_stride_does_not_have_is_named():
    with pytest.raises(ValueError, match=r'stem_indices=2 .*between -2 and 1'):
        tiny(4, stem_indices=2)


def test_a_pyramid_that_cannot_be_built_says_why():
    with pytest.raises(ValueError, match=r'^ResizePyramid has patch_size=14: give '):
        ResizePyramid(32, patch_size=14)
    assert ResizePyramid(32, patch_size=14, scales=(2, 1)).scales == (2, 1)
    with pytest.raises(ValueError, match=r'^SimplePyramid .*=12 .* a multiple of 8\.'):
        SimplePyramid(12, patch_size=32)


@pytest.mark.parametrize('pyramid', [DeconvPyramid, SimplePyramid])
def test_keys_of_the_strides_of_released_checkpoints_stay(pyramid):
    """Names of the upsampling, which checkpoints of stride 16 hold; 32 has one more."""
    names = [
        [name for name, _ in level.named_children() if re.match('up|norm$|act', name)]
        for level in pyramid(32, patch_size=32).levels
    ]
    fine = ['up1', 'norm', 'act', 'up2']
    finest = [*fine[:3], 'up2', 'up2_norm', 'up2_act', 'up3']
    assert names == [finest, fine, ['up'], []]
