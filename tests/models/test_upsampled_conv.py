"""A convolution of upsampled maps equals the plain order, in gradients too."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mmpatchconvnet.models.upsampled_conv import (
    add_conv_upsampled,
    conv_upsampled,
    is_cheaper,
    resize,
)

SIDES = st.integers(1, 12)
SIZES = st.tuples(SIDES, SIDES)


def plain(
    maps: list[Tensor], weight: Tensor, bias: Tensor, align_corners: bool
) -> Tensor:
    size = maps[0].shape[2:]
    resized = [resize(x, size, align_corners) for x in maps]
    padding = [k // 2 for k in weight.shape[2:]]
    return F.conv2d(torch.cat(resized, 1), weight, bias, padding=padding)


@given(
    st.integers(0, 2),
    SIZES,
    SIZES,
    st.tuples(*[st.sampled_from((1, 3, 5))] * 2),
    st.booleans(),
    st.booleans(),
)
def test_one_map_of_any_size_is_upsampled_and_convolved(
    batch, source, size, kernel, align_corners, channels_last
):
    torch.manual_seed(0)
    x = torch.randn(batch, 3, *source, dtype=torch.float64)
    weight = torch.randn(2, 3, *kernel, dtype=torch.float64)
    out = torch.randn(batch, 2, *size, dtype=torch.float64)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    given = [one.requires_grad_() for one in (x, weight, out)]
    ours = add_conv_upsampled(out, x, weight, align_corners)
    resized = resize(x, size, align_corners)
    expected = out + F.conv2d(resized, weight, padding=[k // 2 for k in kernel])
    torch.testing.assert_close(ours, expected)
    gradients = [
        torch.autograd.grad(y.sin().sum(), given, retain_graph=True)
        for y in (ours, expected)
    ]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize('align_corners', [False, True])
def test_small_maps_with_many_channels_are_never_upsampled(align_corners, monkeypatch):
    """And others are, in the same call, where that takes fewer products."""
    torch.manual_seed(0)
    sizes = ((24, 20), (12, 10), (24, 20), (6, 5), (23, 20))
    widths = (8, 64, 8, 64, 8)
    maps = [
        torch.randn(2, c, *size, dtype=torch.float64)
        for c, size in zip(widths, sizes, strict=True)
    ]
    weight = torch.randn(4, sum(widths), 3, 3, dtype=torch.float64)
    bias = torch.randn(4, dtype=torch.float64)
    expected = plain(maps, weight, bias, align_corners)
    resized = []
    interpolate = F.interpolate

    def noting(x: Tensor, *args: object, **settings: object) -> Tensor:
        if x.dim() == 4:
            resized.append(tuple(x.shape[2:]))
        return interpolate(x, *args, **settings)

    monkeypatch.setattr(F, 'interpolate', noting)
    torch.testing.assert_close(
        conv_upsampled(maps, weight, bias, align_corners), expected
    )
    assert resized == [(24, 20), (23, 20)]


def test_products_are_counted():
    """By hand, for a map of 2 x 3 resized to 4 x 6 and a kernel of 3 x 3."""
    taps = 7 * 5 * 9
    fast = 2 * 3 * taps + 4 * (3 * 2) * (3 * 3) * 7 + 4 * 6 * (3 * 3) * 7
    assert fast > 4 * 6 * taps / 2
    for channels in (1, 5, 50):
        taps = 7 * channels * 9
        fast = 2 * 3 * taps + 4 * (3 * 2) * (3 * 3) * 7 + 4 * 6 * (3 * 3) * 7
        cheaper = is_cheaper((1, channels, 2, 3), (7, channels, 3, 3), (4, 6))
        assert cheaper == (fast < 4 * 6 * taps)
    assert not is_cheaper((1, 50, 4, 6), (7, 50, 3, 3), (4, 6))
