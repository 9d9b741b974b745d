"""The second half of the block in Triton kernels, with and without gradients.

The functions of `lean.py` after the first product. They keep the same maps; see
`mmpatchconvnet/models/block/triton`.
"""

from typing import Any

from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from mmpatchconvnet.models.block.linear_gradients import (
    scaled_linear_gradients,
    squeeze_excite,
    squeeze_excite_gradients,
)
from mmpatchconvnet.models.block.triton.gated_linear import (
    gate_backward,
    gated_residual,
    gelu_backward,
)
from mmpatchconvnet.models.block.triton.gelu_depthwise import (
    gelu_depthwise,
    gelu_depthwise_backward,
)


def second_half(
    x: Tensor,
    hidden: Tensor,
    keep_mask: Tensor,
    depthwise: tuple[Tensor, Tensor],
    rest: tuple[Tensor, ...],
) -> Tensor:
    """The output of a block, from its first product on.

    Args:
        x: Input of the block, tokens (B, H, W, C).
        hidden: First product, tokens (B, H, W, C), before its GELU.
        keep_mask: (B, 1, 1, 1), 0 where stochastic depth drops the block.
        depthwise: Kernels (C, 9) and bias.
        rest: Weights and biases of the gate's two layers and of the last product, and
            the LayerScale.
    """
    y, mean = FusedDepthwise.apply(hidden, *depthwise)
    return FusedGatedResidual.apply(x, y, mean, keep_mask, *rest)


class FusedDepthwise(Function):
    """The depthwise 3x3 convolution of the GELU of x, and the mean of its GELU.

    The mean has no gradient here: `FusedGatedResidual` adds it to the map's gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, weight)
        y, mean = gelu_depthwise(x, weight, bias)
        mean = mean.to(x.dtype)
        ctx.mark_non_differentiable(mean)
        return y, mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, ...]:
        x, weight = ctx.saved_tensors
        return gelu_depthwise_backward(grad, x, weight)


class FusedGatedResidual(Function):
    """x + keep_mask * gamma * linear(gate * gelu(y)), given the mean of gelu(y)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        mean: Tensor,
        keep_mask: Tensor,
        reduce_weight: Tensor,
        reduce_bias: Tensor,
        expand_weight: Tensor,
        expand_bias: Tensor,
        weight: Tensor,
        bias: Tensor,
        gamma: Tensor,
    ) -> Tensor:
        reduced, gate = squeeze_excite(
            mean, reduce_weight, reduce_bias, expand_weight, expand_bias
        )
        ctx.save_for_backward(
            *(y, keep_mask, mean, reduced, gate),
            *(reduce_weight, expand_weight, weight, bias, gamma),
        )
        scale = keep_mask.flatten(1) * gamma  # (B, C)
        return gated_residual(x, y, gate, weight, bias, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        y, keep_mask, mean, reduced, gate, *weights = ctx.saved_tensors
        reduce_weight, expand_weight, weight, bias, gamma = weights
        grad_branch = grad * keep_mask
        grad_gated = (grad_branch * gamma).to(y.dtype) @ weight
        gated, grad_gate = gate_backward(grad_gated, y, gate)
        grad_mean, *of_gate = squeeze_excite_gradients(
            grad_gate.to(y.dtype), mean, reduced, gate, reduce_weight, expand_weight
        )
        grad_mean = grad_mean / (y.shape[1] * y.shape[2])
        return (
            grad,
            gelu_backward(grad_gated, y, gate, grad_mean),
            None,
            None,
            *of_gate,
            *scaled_linear_gradients(grad_branch, gated, weight, bias, gamma),
        )
