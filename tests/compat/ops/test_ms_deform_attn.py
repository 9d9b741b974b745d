"""Multi-scale deformable attention equals mmcv's plain torch, at edges its CUDA op."""

import pytest
import torch
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)
from op_checks import HALVES
from torch import Tensor

SHAPES = torch.tensor([[6, 4], [3, 2]])
STARTS = torch.tensor([0, 24])


def operands(dtype: torch.dtype = torch.float64, batch: int = 2) -> list[Tensor]:
    """Values of 30 cells, locations inside and outside of the maps, and weights."""
    torch.manual_seed(0)
    value = torch.randn(batch, 30, 2, 3, dtype=torch.float64)
    locations = torch.rand(batch, 5, 2, 2, 4, 2, dtype=torch.float64) * 1.6 - 0.3
    weights = torch.rand(batch, 5, 2, 2, 4, dtype=torch.float64)
    return [t.to(dtype).requires_grad_() for t in (value, locations, weights)]


def attend(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """The op as mmcv calls it on a GPU."""
    return MultiScaleDeformableAttnFunction.apply(
        value, SHAPES, STARTS, locations, weights, 64
    )


def plain(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    return multi_scale_deformable_attn_pytorch(value, SHAPES, locations, weights)


def test_it_equals_plain_torch() -> None:
    tensors = operands()
    got, want = attend(*tensors), plain(*tensors)
    torch.testing.assert_close(got, want)
    upstream = torch.randn_like(want)
    for a, b in zip(
        torch.autograd.grad(got, tensors, upstream),
        torch.autograd.grad(want, tensors, upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b)

    single = [t.detach().float() for t in tensors]
    torch.testing.assert_close(attend(*single).double(), want, rtol=1e-5, atol=1e-5)


def test_gradients() -> None:
    assert torch.autograd.gradcheck(attend, operands(batch=1), fast_mode=True)


def test_levels_begin_where_their_index_says() -> None:
    value, locations, weights = operands()
    swapped = torch.cat((value[:, 24:], value[:, :24]), 1).detach()
    got = MultiScaleDeformableAttnFunction.apply(
        swapped, SHAPES, torch.tensor([6, 0]), locations, weights, 64
    )
    assert torch.equal(got, attend(value, locations, weights))


@pytest.mark.parametrize(
    'cell', [-1.0, 4.0, torch.nan, torch.inf, -torch.inf, 1e30], ids=str
)
def test_points_that_are_not_on_the_map_add_nothing(cell: float) -> None:
    """On the edge, which new layers hit, plain torch has a gradient, mmcv's op none."""
    value, locations, weights = operands()
    with torch.no_grad():
        locations[0, 0, 0, 0, 0, 0] = (cell + 0.5) / 4
    without = weights.detach().clone()
    without[0, 0, 0, 0, 0] = 0
    elsewhere = locations.detach().clone()
    elsewhere[0, 0, 0, 0, 0] = 0.5
    output = attend(value, locations, weights)
    torch.testing.assert_close(output, attend(value, elsewhere, without))

    output.sum().backward()
    assert not locations.grad[0, 0, 0, 0, 0].any()
    assert weights.grad[0, 0, 0, 0, 0] == 0
    assert value.grad.isfinite().all() and locations.grad[0, 0, 0, 0, 1].any()


@pytest.mark.parametrize('dtype', HALVES)
def test_half_precision(dtype) -> None:
    half = operands(dtype)
    wide = [t.detach().float().requires_grad_() for t in half]
    got, want = attend(*half), attend(*wide)
    assert got.dtype == dtype and torch.equal(got, want.to(dtype))
    upstream = torch.randn_like(got)
    for a, b in zip(
        torch.autograd.grad(got, half, upstream),
        torch.autograd.grad(want, wide, upstream.float()),
        strict=True,
    ):
        assert torch.equal(a, b.to(dtype))


def test_empty_batches_and_queries() -> None:
    for tensors in (operands(batch=0), operands()):
        value, locations, weights = tensors
        few = (value, locations[:, :0], weights[:, :0])
        for inputs in (few,) if len(value) else (few, tensors):
            output = attend(*inputs)
            assert output.shape == (len(value), inputs[1].shape[1], 6)
            output.sum().backward()
            assert not value.grad.any()


def test_tensors_that_are_not_contiguous() -> None:
    tensors = operands()
    turned = [t.detach().mT.contiguous().mT.requires_grad_() for t in tensors]
    assert not any(t.is_contiguous() for t in turned)
    got, want = attend(*turned), attend(*tensors)
    torch.testing.assert_close(got, want)
    got.square().sum().backward()
    want.square().sum().backward()
    for a, b in zip(turned, tensors, strict=True):
        torch.testing.assert_close(a.grad, b.grad)
