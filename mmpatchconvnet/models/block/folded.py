"""Block and stem of the column for inference: fewer steps, the same up to rounding.

The norm's affine part goes into the first 1x1 convolution (all of it where the norm is
a BatchNorm), the LayerScale into the last, and stochastic depth is gone. Maps stay in
channels-last memory, where the 1x1 convolutions are plain matrix products.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmpatchconvnet.models.block import onednn, triton


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
        self.block_impl = block.block_impl
        self.linear_in = linear(weight * scale, bias + weight @ shift)
        self.depthwise = block.depthwise
        self.reduce, self.expand = (
            linear(layer.weight.flatten(1), layer.bias)
            for layer in (block.gate.reduce, block.gate.expand)
        )
        weight, bias = block.pointwise_out.weight.flatten(1), block.pointwise_out.bias
        self.linear_out = linear(block.gamma[:, None] * weight, block.gamma * bias)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to map (B, C, H, W) in channels-last memory.

        With weights in half precision it runs in their dtype, in autocast too.
        """
        x = x.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
        dtype = self.linear_in.weight.dtype
        if dtype == torch.float32:
            return self.run(x).permute(0, 3, 1, 2)
        with torch.autocast(x.device.type, enabled=False):
            return self.run(x.to(dtype)).permute(0, 3, 1, 2)

    def run(self, x: Tensor) -> Tensor:
        """Tokens (B, H, W, C) to tokens (B, H, W, C)."""
        y = x if self.eps is None else F.layer_norm(x, x.shape[-1:], eps=self.eps)
        if self.block_impl == 'triton' and triton.can_run(y):
            return self.run_kernels(x, y)
        if onednn.can_run(y, self.linear_in.weight):
            return self.run_onednn(x, y)
        return self.run_eager(x, y)

    def run_eager(self, x: Tensor, y: Tensor) -> Tensor:
        """The sum of x and what the block makes of y, both (B, H, W, C)."""
        y = F.gelu(self.linear_in(y)).permute(0, 3, 1, 2)  # (B, C, H, W)
        y = F.gelu(self.depthwise(y)).permute(0, 2, 3, 1)  # (B, H, W, C)
        gate = self.open_gate(y.mean((1, 2)))
        return x + self.linear_out(y * gate[:, None, None])

    def run_onednn(self, x: Tensor, y: Tensor) -> Tensor:
        """The same on a CPU, where GELU and sum come with what stands before them."""
        first, last = self.linear_in, self.linear_out
        y = onednn.linear(y, first.weight, first.bias, gelu=True).permute(0, 3, 1, 2)
        y = onednn.conv_gelu(y, self.depthwise)
        # Pooling, as a mean in bfloat16 copies the map.
        gate = self.open_gate(F.avg_pool2d(y, y.shape[2:]).flatten(1))
        y = y.permute(0, 2, 3, 1)
        weight = last.weight
        if len(y) == 1 and y.numel() > weight.numel():
            weight = weight * gate  # smaller than the map
        else:
            y = y * gate[:, None, None]
        return onednn.linear_sum(y, weight, last.bias, x)

    def run_kernels(self, x: Tensor, y: Tensor) -> Tensor:
        """The same on a GPU, in Triton kernels."""
        from mmpatchconvnet.models.block.triton.gated_linear import (
            gated_residual,  # ask for triton
        )
        from mmpatchconvnet.models.block.triton.gelu_depthwise import gelu_depthwise

        depthwise, last = self.depthwise, self.linear_out
        y = self.linear_in(y)
        y, mean = gelu_depthwise(y, depthwise.weight.flatten(1), depthwise.bias)
        gate = self.open_gate(mean.to(y.dtype))
        return gated_residual(x, y, gate, last.weight.to(y.dtype), last.bias)

    def open_gate(self, mean: Tensor) -> Tensor:
        """Squeeze-and-excite's factors (B, C) of the mean (B, C) over a map."""
        return self.expand(F.relu(self.reduce(mean))).sigmoid()


class FoldedStem(nn.Module):
    """The stem for inference; on a CPU the GELUs come with the convolutions.

    Args:
        stem: A `ConvStem`, whose convolutions are taken over.
    """

    def __init__(self, stem: Any) -> None:
        super().__init__()
        self.convs = stem.convs.requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 2, 4 and 8, after their GELU, and of stride 16."""
        maps = []
        x = x.to(self.convs[0].weight.dtype)
        for conv in self.convs[:-1]:
            x = (
                onednn.conv_gelu(x, conv)
                if onednn.can_run(x, conv.weight)
                else F.gelu(conv(x))
            )
            maps.append(x)
        return [*maps, self.convs[-1](x)]


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0]).to(weight)
    layer.load_state_dict(dict(weight=weight, bias=bias))
    return layer
