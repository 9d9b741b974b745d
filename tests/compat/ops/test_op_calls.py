"""A model that calls an op which is missing is refused when it is built."""

from types import ModuleType

import pytest
import torch
from mmcv import ops
from mmengine.registry import MODELS, TASK_UTILS
from torch import nn

from mmpatchconvnet.compat.op_calls import ops_called
from mmpatchconvnet.compat.ops import MissingOpError


class Bordered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Identity(), ops.BorderAlign(2))


class Optional(nn.Module):
    """May build a module with a missing op, and has not."""

    def __init__(self, size: int = 0) -> None:
        super().__init__()
        self.align = ops.BorderAlign(size) if size else nn.Identity()


class Rotated:
    """Calls the op in a function that a method calls."""

    @property
    def keep(self):
        return rotated_nms(torch.zeros(1, 5), torch.zeros(1))


def rotated_nms(boxes, scores):
    return [ops.nms_rotated(boxes.cpu(), scores, 0.5) for _ in range(2)]


class OnGPU(nn.Module):
    def forward(self, x):
        return ops.three_nn(x, x) if x.is_cuda else x


@pytest.mark.parametrize(
    ('registry', 'kind', 'op', 'caller'),
    [
        (MODELS, Bordered, 'border_align_backward', 'BorderAlign'),
        (TASK_UTILS, Rotated, 'nms_rotated', 'Rotated'),
    ],
)
def test_a_missing_op_is_named_when_a_model_is_built(
    registry, kind, op, caller
) -> None:
    device = 'a GPU' if torch.cuda.is_available() else 'a CPU'
    with pytest.raises(MissingOpError) as error:
        registry.build(dict(type=kind))
    told = str(error.value)
    assert f"mmcv op '{op}', which {caller} calls on {device}, is not available" in told
    assert 'https://mmcv.readthedocs.io' in told


def test_what_is_not_called_is_not_refused(monkeypatch) -> None:
    assert MODELS.build(dict(type=Optional))
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    assert MODELS.build(dict(type=OnGPU))
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    with pytest.raises(MissingOpError, match=r'three_nn_forward.* on a GPU'):
        MODELS.build(dict(type=OnGPU))


def test_an_op_that_the_user_adds_is_not_missing(monkeypatch) -> None:
    monkeypatch.setattr('mmcv._ext.nms_rotated', torch.nn.Identity(), raising=False)
    assert TASK_UTILS.build(dict(type=Rotated))


class Lazy(ModuleType):
    """A module that imports what it is asked for."""

    def __getattr__(self, name: str) -> None:
        if name == 'rarely_needed':
            raise ModuleNotFoundError(name)
        raise AttributeError(name)


lazy = Lazy(__name__)


class CallsLazy(nn.Module):
    def forward(self, x):
        return lazy.rarely_needed(x)


def test_reading_a_model_imports_nothing() -> None:
    assert MODELS.build(dict(type=CallsLazy))


@pytest.mark.parametrize('on_gpu', [False, True])
def test_ops_of_the_modules_of_mmcv(on_gpu: bool) -> None:
    def both(name: str) -> set[str]:
        return {f'{name}_forward', f'{name}_backward'}

    assert ops_called(ops.RoIAlign, on_gpu) == both('roi_align')
    assert ops_called(ops.SigmoidFocalLoss, on_gpu) == both('sigmoid_focal_loss')
    assert ops_called(ops.CornerPool, on_gpu) == set()  # torch's own functions
    attention = ops_called(ops.MultiScaleDeformableAttention, on_gpu)
    assert attention == (both('ms_deform_attn') if on_gpu else set())
