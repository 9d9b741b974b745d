"""Deterministic mode: gradients of a GPU are computed on the CPU, and no op raises."""

from collections.abc import Iterator

import pytest
import torch
from mmcv import ops
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
from op_checks import features
from torch import Tensor

from mmpatchconvnet.compat.ops.repeatable import repeatable


class Elsewhere(Tensor):
    """A tensor in memory that says it is on another device."""

    device = torch.device('meta')

    def cpu(self) -> Tensor:
        return self.as_subclass(Tensor)


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@repeatable
def double(tensor: Tensor, given: list[type]) -> tuple[Tensor, ...]:
    given.append(type(tensor))
    return (2 * tensor,)


def test_only_strict_deterministic_mode_moves_tensors(deterministic: None) -> None:
    tensor, given = torch.ones(2).as_subclass(Elsewhere), []
    torch.use_deterministic_algorithms(False)
    double(tensor, given)
    torch.use_deterministic_algorithms(True, warn_only=True)
    double(tensor, given)
    assert given == [Elsewhere] * 2


def test_results_return_to_the_device(deterministic: None) -> None:
    given: list[type] = []
    (result,) = double(torch.ones(2).as_subclass(Elsewhere), given)
    assert given == [Tensor]
    assert result.device.type == 'meta' and result.shape == (2,)
    assert double(torch.ones(2), given)[0].tolist() == [2, 2]


ROI = torch.tensor([[0.0, 5.0, 9.0, 43.0, 31.0]])


def attention(x: Tensor) -> Tensor:
    value = x.permute(0, 2, 3, 1).flatten(1, 2)[:, :, None]
    where, weight = torch.rand(2, 4, 1, 1, 1, 2), torch.ones(2, 4, 1, 1, 1)
    size, start = torch.tensor([[6, 7]]), torch.tensor([0])
    return MultiScaleDeformableAttnFunction.apply(value, size, start, where, weight, 2)


@pytest.mark.parametrize(
    'op',
    [
        lambda x: ops.roi_align(x, ROI, 2, 1 / 8, 2, 'avg', True),
        lambda x: ops.roi_align(x, ROI, 2, 1 / 8, 2, 'max', True),
        lambda x: ops.roi_pool(x, ROI, 2, 1 / 8),
        lambda x: ops.DeformRoIPoolPack((2, 2), 3, 8, 1 / 8)(x, ROI),
        lambda x: ops.DeformConv2dPack(3, 4, 3)(x),
        lambda x: ops.ModulatedDeformConv2dPack(3, 4, 3)(x),
        attention,
    ],
    ids=[
        'average',
        'maximum',
        'roi_pool',
        'deform_roi',
        'conv_1',
        'conv_2',
        'attention',
    ],
)
def test_no_op_raises(deterministic: None, op) -> None:
    x = features()
    op(x).sum().backward()
    assert x.grad.any()
