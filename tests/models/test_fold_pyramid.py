"""Pyramid and readers merged: the same results for any reader of any level."""

import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from mmpatchconvnet import DeconvPyramid
from mmpatchconvnet.models.fold_pyramid import fold_pyramid

WIDTH = 8  # of the levels and of the maps that readers make
SCALES = (8, 4, 2, 1, 0.5)  # smaller ones are not folded either
NORMS = [
    None,
    dict(type='BN'),
    dict(type='BN', affine=False),
    dict(type='BN', track_running_stats=False),
    dict(type='SyncBN'),
    dict(type='IN'),
    dict(type='GN', num_groups=2),
]
ACTIVATIONS = [None, dict(type='ReLU'), dict(type='GELU')]


def random_weights(module: nn.Module, seed: int) -> nn.Module:
    """Weights and statistics with which a wrong fold changes the results."""
    torch.manual_seed(seed)
    for name, value in module.state_dict().items():
        if 'running_var' in name:
            value.uniform_(0.5, 2)
        elif value.is_floating_point():
            value.normal_(std=0.5)
    return module.eval()


def inputs_of(pyramid: DeconvPyramid, b: int, h: int, w: int) -> list[Tensor]:
    stem = zip(pyramid.stem_channels, pyramid.stem_scales, strict=True)
    taps = [torch.randn(b, pyramid.in_channels, h, w) for _ in pyramid.scales]
    return [*(torch.randn(b, c, int(h * s), int(w * s)) for c, s in stem), *taps]


def results(
    pyramid: nn.Module, readers: list[nn.Module], x: list[Tensor]
) -> list[Tensor]:
    with torch.no_grad():
        levels = pyramid(x)
        outputs = [reader(levels) for reader in readers]
    return [y for out in outputs for y in (out if isinstance(out, tuple) else [out])]


def assert_fold_changes_nothing(
    pyramid: DeconvPyramid,
    readers: list[nn.Module],
    shape: tuple[int, int, int] = (2, 10, 8),
) -> str:
    x = inputs_of(pyramid, *shape)
    before = results(pyramid, readers, x)
    kept = fold_pyramid(pyramid, readers)
    after = results(pyramid, readers, x)
    assert fold_pyramid(pyramid, readers) == ''
    for same in (after, results(pyramid, readers, x)):
        for a, b in zip(same, before, strict=True):
            assert a.shape == b.shape
            assert (a - b).abs().max() <= 1e-4 * b.abs().max()
    return kept


class Reader(nn.Module):
    """A custom head: a function of its laterals and all levels."""

    def __init__(self, function: Callable) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(WIDTH, WIDTH, 1) for _ in range(2))
        self.function = function

    def forward(self, levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return self.function(self.laterals, levels)


# How the first two levels are read; only in the first way both can be merged.
OWN_READERS: dict[str, Callable] = {
    'each_once': lambda convs, x: (convs[0](x[0]), convs[1](x[1])),
    'raw': lambda convs, x: (convs[0](x[0]), convs[1](x[1]), x[0], x[1].sum((2, 3))),
    'shared': lambda convs, x: (convs[0](x[0]), convs[0](x[-1]), convs[1](x[1]) * 0),
    'twice': lambda convs, x: (convs[0](x[0]), convs[1](x[0])),
    'functional': lambda convs, x: (
        nn.functional.conv2d(x[0], convs[0].weight),
        convs[1].forward(x[1]),
    ),
    'weight': lambda convs, x: (convs[0](x[0]), convs[0].weight.sum(), convs[1](x[1])),
    'view': lambda convs, x: (convs[0](x[0][:, :, 1:]), convs[1](x[1].relu())),
    'in_place': lambda convs, x: (convs[0](x[0].clamp_(0)), convs[1](x[1])),
}


@st.composite
def pyramids(draw: Callable) -> DeconvPyramid:
    in_order = st.integers(0, 1).map(lambda start: SCALES[start:])
    scales = draw(in_order | st.permutations(SCALES))[: draw(st.integers(2, 4))]
    fine = [s for s in scales if s > 1]
    stem_scales = draw(st.lists(st.sampled_from(fine), max_size=3)) if fine else []
    norm_cfg = draw(st.sampled_from([x for x in NORMS if x]))
    return DeconvPyramid(
        draw(st.sampled_from((4, WIDTH))),
        WIDTH,
        scales,
        norm_cfg,
        [4] * len(stem_scales),
        stem_scales,
    )


@st.composite
def laterals(draw: Callable) -> nn.Module:
    kernel_size = draw(st.sampled_from((1, 1, 3)))
    return ConvModule(
        WIDTH,
        WIDTH,
        kernel_size,
        padding=kernel_size // 2,
        groups=draw(st.sampled_from((1, 1, 2))),
        bias=draw(st.sampled_from(('auto', True, False))),
        conv_cfg=draw(st.sampled_from((None, dict(type='Conv'), dict(type='ConvWS')))),
        norm_cfg=draw(st.sampled_from(NORMS)),
        act_cfg=draw(st.sampled_from(ACTIVATIONS)),
        inplace=draw(st.booleans()),
        with_spectral_norm=draw(st.booleans()),
        padding_mode=draw(st.sampled_from(('zeros', 'reflect'))),
        order=tuple(draw(st.permutations(('conv', 'norm', 'act')))),
        efficient_conv_bn_eval=draw(st.booleans()),
    )


@st.composite
def fpns(draw: Callable, scales: tuple[float, ...]) -> nn.Module:
    from mmdet.models.necks import FPN, PAFPN

    num_levels = len(scales)
    halved = scales in [SCALES[i:j] for i in range(5) for j in range(6)]
    start_level = draw(st.integers(0, num_levels - 1))
    end_level = draw(st.sampled_from((-1, *range(start_level, num_levels))))
    is_last = end_level in (-1, num_levels - 1)
    fpn = draw(st.sampled_from((FPN, PAFPN) if halved else (FPN,)))(
        [WIDTH] * num_levels,
        WIDTH,
        num_levels - start_level + draw(st.integers(0, 2))
        if is_last
        else end_level - start_level + 1,
        start_level,
        end_level,
        draw(st.sampled_from((False, True, 'on_input', 'on_lateral', 'on_output'))),
        draw(st.booleans()),
        draw(st.booleans()),
        norm_cfg=draw(st.sampled_from(NORMS)),
        act_cfg=draw(st.sampled_from(ACTIVATIONS)),
    )
    if draw(st.booleans()):
        fpn.lateral_convs[0] = draw(laterals())
    return fpn


@st.composite
def heads(draw: Callable, num_levels: int) -> nn.Module:
    from mmseg.models.decode_heads import FCNHead, UPerHead

    index = st.integers(-1, num_levels - 1)
    shared = dict(
        channels=WIDTH,
        num_classes=3,
        align_corners=False,
        norm_cfg=draw(st.sampled_from(NORMS)),
        act_cfg=draw(st.sampled_from(ACTIVATIONS[1:])),
    )
    if draw(st.booleans()):
        in_index = draw(st.lists(index, min_size=1, max_size=4))
        in_channels = [WIDTH] * len(in_index)
        return UPerHead(
            in_index=in_index, in_channels=in_channels, pool_scales=(2,), **shared
        )
    if draw(st.booleans()):
        return FCNHead(
            in_index=draw(index),
            in_channels=WIDTH,
            kernel_size=draw(st.sampled_from((1, 3))),
            num_convs=1,
            concat_input=False,
            **shared,
        )
    in_index = draw(st.lists(index, min_size=1, max_size=4))
    return FCNHead(
        in_index=in_index,
        in_channels=[WIDTH] * len(in_index),
        input_transform='resize_concat',
        **shared,
    )


@pytest.mark.det
@pytest.mark.seg
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_any_reader_returns_the_same(data, seed):
    pyramid = data.draw(pyramids())
    num_levels = len(pyramid.scales)
    own = st.sampled_from(list(OWN_READERS.values())).map(Reader)
    reader = st.one_of(fpns(pyramid.scales), heads(num_levels), own)
    readers = data.draw(st.lists(reader, min_size=1, max_size=2))
    random_weights(nn.ModuleList([pyramid, *readers]), seed)
    assert_fold_changes_nothing(pyramid, readers)


@pytest.mark.parametrize(
    ('name', 'merged', 'line'),
    [
        ('each_once', 2, ''),
        ('raw', 0, 'level 0.*level 1'),
        ('shared', 1, 'level 0'),
        ('twice', 0, 'level 0'),
        ('functional', 0, 'level 0.*level 1'),
        ('weight', 1, 'level 0'),
        ('view', 0, 'level 0.*level 1'),
        ('in_place', 1, 'level 0'),
    ],
)
def test_levels_of_one_plain_reader_are_merged(name, merged, line):
    pyramid = DeconvPyramid(WIDTH)
    reader = Reader(OWN_READERS[name])
    kept = assert_fold_changes_nothing(pyramid.eval(), [reader.eval()])
    assert re.fullmatch(f'{line}.*' if line else '', kept)
    convs = [c for c in reader.laterals if isinstance(c, nn.Conv2d)]
    assert len(convs) == 2 - merged


@pytest.mark.parametrize(
    ('norm_cfg', 'order', 'left'),
    [
        (dict(type='BN'), ('conv', 'norm', 'act'), []),
        (dict(type='GN', num_groups=2), ('conv', 'norm', 'act'), ['GroupNorm']),
        (dict(type='BN'), ('conv', 'act', 'norm'), ['BatchNorm2d']),
        (dict(type='BN'), ('norm', 'conv', 'act'), ['Conv2d', 'BatchNorm2d']),
    ],
)
def test_which_layers_of_a_lateral_stay(norm_cfg, order, left):
    lateral = ConvModule(WIDTH, WIDTH, 1, norm_cfg=norm_cfg, order=order)
    reader = Reader(lambda convs, levels: (convs[0](levels[0]),))
    reader.laterals[0] = lateral
    pyramid = DeconvPyramid(WIDTH, stem_channels=(4, 4))
    random_weights(nn.ModuleList([pyramid, reader]), 0)
    assert_fold_changes_nothing(pyramid, [reader])
    done = (nn.Identity, nn.ReLU)
    parts = [type(m).__name__ for m in lateral.children() if not isinstance(m, done)]
    assert parts == left
    # The norm of the stem's map is merged if the level is.
    assert isinstance(pyramid.stem_projections[0].norm, nn.Identity) == (len(left) < 2)


BRANCHES: dict[str, Callable] = {
    'batch': lambda x: len(x) > 1,
    'square': lambda x: x.shape[2] == x.shape[3],
    'small': lambda x: x.shape[2] < 30,
    'even': lambda x: x.shape[2] % 2 == 0,
}


@pytest.mark.parametrize('name', BRANCHES)
@pytest.mark.parametrize('shape', [(2, 16, 16), (1, 51, 85)])
@pytest.mark.parametrize('branch_at', ['conv', 'norm'])
def test_what_depends_on_the_shape_is_not_merged(name, shape, branch_at):
    def function(convs, x):
        y = convs[0](x[0]) if branch_at == 'norm' else x[0]
        if BRANCHES[name](x[2]):
            y = convs[1](y)
        return (y,)

    pyramid, reader = DeconvPyramid(WIDTH), Reader(function)
    if branch_at == 'norm':
        reader.laterals[1] = nn.BatchNorm2d(WIDTH)
    random_weights(nn.ModuleList([pyramid, reader]), 0)
    kept = assert_fold_changes_nothing(pyramid, [reader], shape)
    assert ('level 0' in kept) == (branch_at == 'conv')
    assert not isinstance(reader.laterals[1], nn.Identity)


def test_what_may_differ_is_left_and_named():
    class Sum(DeconvPyramid):
        def forward(self, inputs):
            return tuple(x + 1 for x in super().forward(inputs))

    each_once = Reader(OWN_READERS['each_once']).eval()
    kept = assert_fold_changes_nothing(Sum(WIDTH).eval(), [each_once])
    assert 'levels [0, 1]: Sum may' in kept
    pyramid = DeconvPyramid(WIDTH, stem_channels=(4,), norm_cfg=NORMS[-1]).eval()
    kept = assert_fold_changes_nothing(pyramid, [each_once])
    assert 'level 0: the norm of its stem map' in kept and 'level 1' not in kept
    broken = Reader(lambda convs, levels: levels[0].tolist()).eval()
    kept = fold_pyramid(DeconvPyramid(WIDTH).eval(), [broken])
    assert 'Reader cannot run' in kept
