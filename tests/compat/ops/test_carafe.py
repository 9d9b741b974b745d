"""CARAFE equals the compiled one, and a sum over unfolded maps."""

import pytest
import torch
import torch.nn.functional as F
from mmcv import ops
from op_checks import HALVES, relative_error
from torch import Tensor

from mmpatchconvnet.compat import ops as our_ops

# (kernel, groups, scale); the map is smaller than the last kernel.
SETTINGS = [(3, 1, 1), (5, 2, 2), (1, 4, 3), (9, 1, 2)]


def inputs(
    kernel: int, groups: int, scale: int, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """Features (2, 4, 3, 4) and masks for them, leaves of a graph."""
    generator = torch.Generator().manual_seed(0)
    masks = 2, groups * kernel**2, 3 * scale, 4 * scale
    return [
        torch.randn(size, generator=generator).to(dtype).requires_grad_()
        for size in ((2, 4, 3, 4), masks)
    ]


def unfolded_sum(
    features: Tensor, masks: Tensor, kernel: int, groups: int, scale: int
) -> Tensor:
    batch, channels, height, width = features.shape
    windows = F.unfold(features, kernel, padding=kernel // 2)
    windows = windows.view(batch, channels * kernel**2, height, width)
    windows = windows.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    windows = windows.view(batch, groups, -1, kernel**2, *windows.shape[2:])
    weights = masks.view(batch, groups, 1, kernel**2, *masks.shape[2:])
    return (windows * weights).sum(3).flatten(1, 2)


def test_carafe_equals_the_stored_values(stored_values: dict[str, Tensor]) -> None:
    names = ('features', 'masks')
    given = [stored_values[f'carafe_{name}'].requires_grad_() for name in names]
    output = ops.CARAFE(5, 4, 2)(*given)
    output.backward(torch.ones_like(output))
    assert relative_error(output, stored_values['carafe_output']) < 1e-5
    for name, tensor in zip(names, given, strict=True):
        assert relative_error(tensor.grad, stored_values[f'carafe_{name}_grad']) < 1e-5
        tensor.requires_grad_(False)


@pytest.mark.parametrize('setting', SETTINGS)
def test_carafe_equals_a_sum_over_unfolded_maps(setting) -> None:
    given, plain = inputs(*setting), inputs(*setting)
    last = [tensor.to(memory_format=torch.channels_last) for tensor in given]
    output, expected = ops.carafe(*last, *setting), unfolded_sum(*plain, *setting)
    torch.testing.assert_close(output, expected)
    assert torch.equal(ops.carafe_naive(*last, *setting), output)
    upstream = torch.randn(output.shape, dtype=torch.float64)
    output.mT.backward(upstream.mT)
    expected.backward(upstream)
    for ours, reference in zip(given, plain, strict=True):
        torch.testing.assert_close(ours.grad, reference.grad)


def test_carafe_gradient() -> None:
    features, masks = (tensor[:1, :, :4, :6] for tensor in inputs(3, 1, 2))
    assert torch.autograd.gradcheck(
        ops.CARAFE(3, 1, 2), (features[:, :, :2, :3], masks)
    )


def test_naive_carafe_has_the_same_gradient() -> None:
    # mmcv's Python refuses the backward pass of the naive one on a CPU.
    features, masks = inputs(5, 2, 2)
    output = ops.carafe(features, masks, 5, 2, 2)
    output.square().sum().backward()
    grads = torch.empty_like(features), torch.empty_like(masks)
    our_ops.carafe_naive_backward(2 * output, features, masks, *grads, 5, 2, 2)
    assert torch.equal(grads[0], features.grad) and torch.equal(grads[1], masks.grad)


@pytest.mark.parametrize('dtype', HALVES)
def test_carafe_in_half_precision(dtype) -> None:
    half = inputs(5, 2, 2, dtype)
    wide = [tensor.detach().float().requires_grad_() for tensor in half]
    got, want = (ops.carafe(*given, 5, 2, 2) for given in (half, wide))
    assert torch.equal(got, want.to(dtype))
    got.sum().backward()
    want.sum().backward()
    for ours, reference in zip(half, wide, strict=True):
        assert torch.equal(ours.grad, reference.grad.to(dtype))


def test_carafe_edges() -> None:
    empty = [tensor[:0].detach().requires_grad_() for tensor in inputs(3, 1, 2)]
    output = ops.carafe(*empty, 3, 1, 2)
    assert output.shape == (0, 4, 6, 8)
    output.sum().backward()

    features, masks = (tensor.detach() for tensor in inputs(3, 1, 2))
    masks[0, 0, 0, 0] = float('nan')  # the weight of a neighbour outside the map
    assert ops.carafe(features, masks, 3, 1, 2).isfinite().all()
    masks[0, 4, 0, 0] = float('nan')
    features[1, 2, 2, 3] = float('nan')
    nan = ops.carafe(features, masks, 3, 1, 2).isnan()
    assert nan[0].sum() == 4 and nan[0, :, 0, 0].all()
    assert nan[1].sum() == 16 and nan[1, 2, 2:, 4:].all()
