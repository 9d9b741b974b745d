import sys
import types

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mmpatchconvnet.export import resizing
from mmpatchconvnet.models import hmhsa

SIDE = st.integers(1, 150)
SIZES = st.tuples(SIDE, SIDE, SIDE, SIDE)


def random_map(height, width):
    torch.manual_seed(0)
    return torch.rand(1, 2, height, width)


def assert_close(ours, theirs):
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@given(SIZES)
def test_average_pooling_is_that_of_torch(sizes):
    height, width, *size = sizes
    x = random_map(height, width)
    assert_close(resizing.pool_average(x, size), F.adaptive_avg_pool2d(x, size))


@given(SIZES, st.booleans())
def test_bilinear_resizing_is_that_of_torch(sizes, align_corners):
    height, width, *size = sizes
    x = random_map(height, width)
    theirs = F.interpolate(x, size, mode='bilinear', align_corners=align_corners)
    assert_close(resizing.resize_bilinear(x, size, align_corners), theirs)


@given(SIZES)
def test_nearest_resizing_is_that_of_torch(sizes):
    height, width, *size = sizes
    x = random_map(height, width)
    assert (resizing.resize_nearest(x, size) == F.interpolate(x, size)).all()


@given(
    st.tuples(SIDE, SIDE),
    st.sampled_from([4, 2, 0.5, 1.3, 0.8]),
    st.sampled_from(['nearest', 'bilinear']),
    st.sampled_from([None, True]),
)
def test_factors_are_those_of_torch(size, factor, mode, recompute):
    if min(size) * factor < 1:
        return
    x = random_map(*size)
    given = dict(scale_factor=factor, mode=mode, recompute_scale_factor=recompute)
    assert_close(resizing.interpolate(x, **given), F.interpolate(x, **given))


@given(st.tuples(SIDE, SIDE))
def test_pooling_with_sizes_rounded_up_is_that_of_torch(size):
    x = random_map(*size)
    theirs = F.max_pool2d(x, 2, ceil_mode=True)
    assert (resizing.max_pool(x, 2, ceil_mode=True) == theirs).all()


@given(st.tuples(SIDE, SIDE), st.integers(1, 9))
def test_means_with_sizes_rounded_up_are_those_of_torch(size, side):
    x = random_map(*size)
    theirs = F.avg_pool2d(x, side, ceil_mode=True)
    assert_close(resizing.avg_pool(x, side, ceil_mode=True), theirs)
    given = dict(ceil_mode=True, divisor_override=3)
    assert (resizing.avg_pool(x, side, **given) == F.avg_pool2d(x, side, **given)).all()


@given(st.tuples(st.integers(1, 30), st.integers(1, 30)), st.integers(2, 8))
def test_windows_that_are_always_masked_give_the_same(size, side):
    torch.manual_seed(0)
    qkv = torch.randn(2, *size, 24)
    theirs = hmhsa.attend_in_windows(qkv, 2, side)
    with resizing.dynamic_resizing():
        assert_close(hmhsa.attend_in_windows(qkv, 2, side), theirs)


def test_models_use_the_products_only_within_the_context(monkeypatch):
    called = []
    products = resizing._multiply
    monkeypatch.setattr(
        resizing, '_multiply', lambda *args: called.append(1) or products(*args)
    )
    layers = nn.Sequential(
        nn.AdaptiveAvgPool2d(3), nn.Upsample(scale_factor=2, mode='bilinear')
    )
    x = random_map(10, 12)
    theirs = layers(x)
    assert not called
    with resizing.dynamic_resizing():
        assert_close(layers(x), theirs)
    assert len(called) == 2
    layers(x)
    assert len(called) == 2


def test_modes_without_a_product_stay_with_torch():
    x = random_map(10, 12)
    cubic = dict(size=(7, 9), mode='bicubic')
    assert_close(resizing.interpolate(x, **cubic), F.interpolate(x, **cubic))
    flat = x[0]
    assert_close(resizing.interpolate(flat, 20), F.interpolate(flat, 20))


def test_names_that_modules_have_imported_are_replaced(monkeypatch):
    def resize(*args, **kwargs):
        raise AssertionError

    for name in ('mmseg.models.utils.wrappers', 'a_head'):
        module = types.ModuleType(name)
        module.resize = resize
        monkeypatch.setitem(sys.modules, name, module)
    x = random_map(10, 12)
    with resizing.dynamic_resizing():
        ours = sys.modules['a_head'].resize(x, (20, 24), mode='bilinear')
        assert_close(ours, F.interpolate(x, (20, 24), mode='bilinear'))
    assert sys.modules['a_head'].resize is resize
