"""The convolution by Winograd's method equals the direct one, in gradients too."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mmpatchconvnet.models import winograd
from mmpatchconvnet.models.recompute import recompute
from mmpatchconvnet.models.winograd import conv3x3

FAST = dict(x=(1, 128, 45, 48), weight=(130, 128, 3, 3))  # sizes for which it is fast


def inputs(x: tuple, weight: tuple, **settings: Any) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(x, **settings), torch.randn(weight, **settings)


@given(
    st.integers(0, 2),
    st.tuples(*[st.integers(1, 3)] * 2),
    st.tuples(*[st.integers(1, 13)] * 2),
    st.booleans(),
    st.booleans(),
    st.sampled_from((1, 2**21)),
)
def test_maps_of_any_size(batch, channels, size, with_bias, channels_last, band):
    x, weight = inputs((batch, channels[0], *size), (*channels[::-1], 3, 3))
    x, weight = x.double(), weight.double()
    bias = torch.randn(channels[1], dtype=torch.float64)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    wanted = [x.requires_grad_(), weight.requires_grad_()]
    wanted += [bias.requires_grad_()] * with_bias
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, 'is_fast', lambda *given: True)
        patch.setattr(winograd, 'BAND', band)
        ours = conv3x3(*wanted)
        gradients = torch.autograd.grad(ours.sin().sum(), wanted)
    expected = F.conv2d(*wanted, padding=1)
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(
        gradients, torch.autograd.grad(expected.sin().sum(), wanted)
    )


def test_it_rounds_no_worse_than_1e_5():
    """With float32, in results and gradients."""
    given = [y.requires_grad_() for y in inputs(**FAST)]
    exact = [y.detach().double().requires_grad_() for y in given]
    ours, expected = conv3x3(*given), F.conv2d(*exact, padding=1)
    errors = [(ours - expected).abs().max() / expected.abs().max()]
    for gradient, wanted in zip(
        torch.autograd.grad(ours.sum(), given),
        torch.autograd.grad(expected.sum(), exact),
        strict=True,
    ):
        errors.append((gradient - wanted).abs().max() / wanted.abs().max())
    assert 0 < max(errors) < 1e-5


def test_it_is_taken_where_it_is_fast(monkeypatch):
    taken = []
    monkeypatch.setattr(winograd, 'winograd', lambda *given: taken.append(given))
    conv3x3(*inputs(**FAST))
    assert taken
    taken.clear()
    for slow in (
        dict(x=(16, 128, 12, 12), weight=(130, 128, 3, 3)),
        dict(x=(1, 128, 400, 8), weight=(130, 128, 3, 3)),
        dict(x=(1, 8, 48, 48), weight=(130, 8, 3, 3)),
        dict(x=(1, 128, 48, 48), weight=(8, 128, 3, 3)),
        dict(x=(1, 128, 48, 48), weight=(130, 128, 1, 1)),
        FAST | dict(dtype=torch.float64),
    ):
        x, weight = inputs(**slow)
        padding = weight.shape[2] // 2
        assert conv3x3(x, weight).equal(F.conv2d(x, weight, padding=padding))
    with torch.autocast('cpu', torch.bfloat16):
        assert conv3x3(*inputs(**FAST)).dtype == torch.bfloat16
    assert not taken


def test_products_are_not_computed_again_with_their_inputs(monkeypatch):
    calls = []
    multiply = winograd.winograd

    def noting(*given: Tensor) -> None:
        calls.append(given[0].shape)
        multiply(*given)

    monkeypatch.setattr(winograd, 'winograd', noting)
    x, weight = (y.requires_grad_() for y in inputs(**FAST))
    y = recompute(lambda x: conv3x3(x.sin(), weight), torch.nn.Identity(), x)
    gradients = torch.autograd.grad(y.square().sum(), (x, weight))
    results, of_input = (1, 45, 48, 128), (1, 45, 48, 130)
    assert calls == [results, of_input]
    expected = F.conv2d(x.sin(), weight, padding=1).square().sum()
    for ours, wanted in zip(
        gradients, torch.autograd.grad(expected, (x, weight)), strict=True
    ):
        assert (ours - wanted).abs().max() < 1e-5 * wanted.abs().max()
