"""A convolution of upsampled maps equals the plain order, in gradients too."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mmpatchconvnet.models import upsampled_conv
from mmpatchconvnet.models.upsampled_conv import (
    add_conv_upsampled,
    add_convs_upsampled,
    add_in_graph,
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
    st.sampled_from((1, 200, 2**22)),
)
def test_one_map_of_any_size_is_upsampled_and_convolved(
    batch, source, size, kernel, align_corners, channels_last, band
):
    """Eagerly, in bands of any size, and as it is exported."""
    torch.manual_seed(0)
    x = torch.randn(batch, 3, *source, dtype=torch.float64)
    weight = torch.randn(2, 3, *kernel, dtype=torch.float64)
    out = torch.randn(batch, 2, *size, dtype=torch.float64)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    given = [one.requires_grad_() for one in (x, weight, out)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upsampled_conv, 'BAND', band)
        ours = add_conv_upsampled(out.clone(), x, weight, align_corners)
        exported = add_in_graph(out, x, weight, align_corners)
        resized = resize(x, size, align_corners)
        expected = out + F.conv2d(resized, weight, padding=[k // 2 for k in kernel])
        results = ours, exported, expected
        gradients = [
            torch.autograd.grad(y.sin().sum(), given, retain_graph=True)
            for y in results
        ]
    for result, gradient in zip(results[:2], gradients[:2], strict=True):
        torch.testing.assert_close(result, expected)
        torch.testing.assert_close(gradient, gradients[2])


def test_only_the_small_map_and_the_weight_are_kept():
    x = torch.randn(2, 64, 6, 5, requires_grad=True)
    weight = torch.randn(4, 64, 3, 3, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda x: x):
        add_conv_upsampled(torch.randn(2, 4, 24, 20), x, weight, False)
    assert sorted(y.numel() for y in kept) == sorted(y.numel() for y in (x, weight))


def test_under_autocast_it_multiplies_in_half_precision():
    x = torch.randn(2, 64, 6, 5, requires_grad=True)
    weight = torch.randn(4, 64, 3, 3, requires_grad=True)
    exact = add_conv_upsampled(torch.zeros(2, 4, 24, 20), x, weight, False)
    with torch.autocast('cpu', torch.bfloat16):
        out = torch.zeros(2, 4, 24, 20, dtype=torch.bfloat16)  # as of a convolution
        rounded = add_conv_upsampled(out, x, weight, False)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.5)
    for of_rounded, of_exact in zip(
        torch.autograd.grad(rounded.sum(), (x, weight)),
        torch.autograd.grad(exact.sum(), (x, weight)),
        strict=True,
    ):
        assert of_rounded.dtype == torch.float32
        assert (of_rounded - of_exact).norm() < 0.01 * of_exact.norm()


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
    own, *others = weight.split(widths, 1)
    out = F.conv2d(maps[0], own, bias, padding=1)
    out = add_convs_upsampled(out, maps[1:], others, align_corners)
    torch.testing.assert_close(out, expected)
    assert resized == [(24, 20), (23, 20)]


def test_products_are_counted():
    """By hand, for a map of 2 x 3 resized to 4 x 6 and a kernel of 3 x 3."""
    for channels in (1, 5, 50):
        taps = 7 * channels * 9
        columns, rows = (3 * 2 * 6) * (3 * 3) * 7, 4 * (3 * 2) * 6 * 7
        fast = 2 * 3 * taps + columns + rows
        cheaper = is_cheaper((1, channels, 2, 3), (7, channels, 3, 3), (4, 6))
        assert cheaper == (fast < 4 * 6 * taps)
    assert not is_cheaper((1, 50, 4, 6), (7, 50, 3, 3), (4, 6))
