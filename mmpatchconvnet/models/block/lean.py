"""The block of the column with a backward pass that needs little memory.

Autograd keeps eight maps of a block for its backward pass: the inputs of the norm, the
products, the GELUs, the gate and the LayerScale. Here the block consists of three
functions. Each keeps only its input, from which the backward pass recomputes norm, GELU
and gate; no product or convolution is recomputed. The gradient of the LayerScale needs
no map: it follows from the gradient of the last weight.

Maps are tokens (B, H, W, C) throughout, which is channels-last memory: the 1x1
convolutions are plain matrix products, and the norm copies nothing.

`fused.py` has two of the three functions in Triton kernels.
"""

from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from mmpatchconvnet.models.block.linear_gradients import (
    linear,
    linear_gradients,
    scaled_linear_gradients,
    squeeze_excite,
    squeeze_excite_gradients,
)

aten = torch.ops.aten


def lean_forward(block: Any, x: Tensor, fused: bool = False) -> Tensor:
    """The output of a `PatchConvBlock` with LayerNorm; keeps three maps for backward.

    Args:
        block: The block with its weights.
        x: Map (B, C, H, W); in channels-last memory it is not copied.
        fused: Run the second and third function in Triton kernels.

    Returns:
        Map (B, C, H, W) in channels-last memory.
    """
    device = x.device.type
    # The meta device has no autocast and raises.
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(
        device
    )
    dtype = torch.get_autocast_dtype(device) if autocast else x.dtype

    def weights(layer: Any) -> tuple[Tensor, Tensor]:
        return layer.weight.flatten(1).to(dtype), layer.bias.to(dtype)

    # 0 for an image that skips the block; draws the same random numbers as for a map.
    keep_mask = block.drop_path(x.new_ones(len(x), 1, 1, 1))
    tokens = x.permute(0, 2, 3, 1).contiguous()
    with torch.autocast(device, enabled=False) if autocast else nullcontext():
        norm = block.norm
        hidden = NormLinear.apply(
            tokens, norm.weight, norm.bias, norm.eps, *weights(block.pointwise_in)
        )
        rest = (
            *weights(block.gate.reduce),
            *weights(block.gate.expand),
            *weights(block.pointwise_out),
            block.gamma,
        )
        if fused:
            # Only here, as it imports triton.
            from mmpatchconvnet.models.block import fused as fused_block

            tokens = fused_block.second_half(
                tokens, hidden, keep_mask, weights(block.depthwise), rest
            )
        else:
            hidden = GeluDepthwise.apply(hidden, *weights(block.depthwise))
            tokens = GatedResidual.apply(tokens, hidden, keep_mask, *rest)
    return tokens.permute(0, 3, 1, 2)


class NormLinear(Function):
    """A linear layer of the LayerNorm of x (B, H, W, C); keeps x."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        eps: float,
        weight: Tensor,
        bias: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(x, norm_weight, norm_bias, weight)
        ctx.eps = eps
        x = x.to(
            norm_weight.dtype
        )  # in mixed precision the stem's map is in half precision
        y = F.layer_norm(x, x.shape[-1:], norm_weight, norm_bias, eps)
        return linear(y.to(weight.dtype), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *norm, weight = ctx.saved_tensors
        dtype, x = x.dtype, x.to(norm[0].dtype)
        y, mean, rstd = aten.native_layer_norm(x, x.shape[-1:], *norm, ctx.eps)
        grad_weight, grad_bias = linear_gradients(grad, y.to(grad.dtype))
        grad_x, *grad_norm = aten.native_layer_norm_backward(
            linear(grad, weight.T).to(x.dtype),
            x,
            x.shape[-1:],
            mean,
            rstd,
            *norm,
            [True] * 3,
        )
        return grad_x.to(dtype), *grad_norm, None, grad_weight, grad_bias


class GeluDepthwise(Function):
    """The depthwise 3x3 convolution of the GELU of x (B, H, W, C); keeps x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        maps = F.gelu(x).permute(0, 3, 1, 2)
        kernels = weight.view(-1, 1, 3, 3)
        y = F.conv2d(maps, kernels, bias, padding=1, groups=len(weight))
        return y.permute(0, 2, 3, 1).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, weight = ctx.saved_tensors
        grad_y, grad_weight, grad_bias = aten.convolution_backward(
            grad.permute(0, 3, 1, 2),
            F.gelu(x).permute(0, 3, 1, 2),
            weight.view(-1, 1, 3, 3),
            [len(weight)],
            [1, 1],  # stride
            [1, 1],  # padding
            [1, 1],  # dilation
            False,
            [0, 0],
            len(weight),
            [True] * 3,
        )
        grad_y = grad_y.permute(0, 2, 3, 1).contiguous()
        return aten.gelu_backward(grad_y, x), grad_weight.flatten(1), grad_bias


class GatedResidual(Function):
    """x + keep_mask * gamma * linear(gate * gelu(y)) of x and y (B, H, W, C); keeps y.

    The gate is the squeeze-and-excite of gelu(y); `keep_mask` (B, 1, 1, 1) is 0 where
    stochastic depth drops the block.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        keep_mask: Tensor,
        reduce_weight: Tensor,
        reduce_bias: Tensor,
        expand_weight: Tensor,
        expand_bias: Tensor,
        weight: Tensor,
        bias: Tensor,
        gamma: Tensor,
    ) -> Tensor:
        active = F.gelu(y)
        mean = active.mean((1, 2))  # (B, C)
        reduced, gate = squeeze_excite(
            mean, reduce_weight, reduce_bias, expand_weight, expand_bias
        )
        ctx.save_for_backward(
            *(y, keep_mask, mean, reduced, gate),
            *(reduce_weight, expand_weight, weight, bias, gamma),
        )
        branch = linear(active * gate[:, None, None], weight, bias)
        return x + keep_mask * gamma * branch

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        y, keep_mask, mean, reduced, gate, *weights = ctx.saved_tensors
        reduce_weight, expand_weight, weight, bias, gamma = weights
        active = F.gelu(y)
        grad_branch = grad * keep_mask
        # Not weight * gamma, which underflows in float16 if gamma is 1e-6.
        grad_gated = linear((grad_branch * gamma).to(y.dtype), weight.T)
        grad_mean, *of_gate = squeeze_excite_gradients(
            (grad_gated * active).sum((1, 2)),
            *(mean, reduced, gate, reduce_weight, expand_weight),
        )
        grad_mean = grad_mean / (y.shape[1] * y.shape[2])
        grad_active = grad_gated * gate[:, None, None] + grad_mean[:, None, None]
        return (
            grad,
            aten.gelu_backward(grad_active, y),
            None,
            *of_gate,
            *scaled_linear_gradients(
                grad_branch, active * gate[:, None, None], weight, bias, gamma
            ),
        )
