"""The block of the column for inference: fewer steps, the same answer up to rounding.

The norm's affine part goes into the first 1x1 convolution (all of it where the norm is
a BatchNorm), the LayerScale into the last, and stochastic depth is gone. Maps stay in
channels-last memory, where the 1x1 convolutions are plain matrix products.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmpatchconvnet import kernels
from mmpatchconvnet.models.layers import fast_linear


class FoldedBlock(nn.Module):
    """What a trained `PatchConvBlock` answers in eval mode; it cannot be trained.

    Args:
        block: The block, with LayerNorm or BatchNorm; gate and depthwise convolution
            are taken over from it.

    Raises:
        ValueError: Another norm.
    """

    @torch.no_grad()
    def __init__(self, block: Any) -> None:
        super().__init__()
        norm: Any = block.norm
        has_layer_norm = isinstance(norm, nn.LayerNorm)
        has_batch_norm = isinstance(norm, _BatchNorm)
        self.eps: float | None = norm.eps if has_layer_norm else None
        if has_layer_norm:
            scale, shift = norm.weight, norm.bias
        elif has_batch_norm:
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            shift = norm.bias - norm.running_mean * scale
        else:
            raise ValueError(
                f'{type(norm).__name__} cannot be folded into a convolution: '
                'switch_to_deploy takes columns with LayerNorm or BatchNorm.'
            )
        weight, bias = block.pointwise_in.weight.flatten(1), block.pointwise_in.bias
        self.linear_in = linear(weight * scale, bias + weight @ shift)
        self.fused_kernels = block.fused_kernels
        self.depthwise = block.depthwise
        self.gate = block.gate
        weight, bias = block.pointwise_out.weight.flatten(1), block.pointwise_out.bias
        self.linear_out = linear(block.gamma[:, None] * weight, block.gamma * bias)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to map (B, C, H, W) in channels-last memory."""
        x = x.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
        y = x if self.eps is None else F.layer_norm(x, x.shape[-1:], eps=self.eps)
        y = fast_linear(y, self.linear_in.weight, self.linear_in.bias)
        if self.fused_kernels and kernels.can_run(y):
            from mmpatchconvnet.models.fused_block import folded_half  # asks for triton

            return folded_half(self, x, y).permute(0, 3, 1, 2)
        y = F.gelu(y).permute(0, 3, 1, 2)  # (B, C, H, W)
        y = self.gate(F.gelu(self.depthwise(y)))
        y = y.permute(0, 2, 3, 1)
        y = x + fast_linear(y, self.linear_out.weight, self.linear_out.bias)
        return y.permute(0, 3, 1, 2)


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0]).to(weight)
    layer.load_state_dict(dict(weight=weight, bias=bias))
    return layer
