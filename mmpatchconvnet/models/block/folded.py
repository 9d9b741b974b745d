"""Block and stem of the column for inference: fewer steps, the same up to rounding.

A BatchNorm is merged into the first 1x1 convolution, the LayerScale into the last, and
stochastic depth is dropped. Maps stay in channels-last memory, where the 1x1
convolutions are plain matrix products. A LayerNorm keeps its weight and bias: torch
normalizes faster with them than without.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from mmpatchconvnet.models.block import cpu, triton
from mmpatchconvnet.models.block.eager import PatchConvBlock
from mmpatchconvnet.models.layers import LayerNorm2d
from mmpatchconvnet.models.plain import difference, is_plain_batch_norm


def why_not_folded(block: nn.Module) -> str:
    """Why a block in eval mode cannot become a `FoldedBlock`; empty if it can."""
    if type(block) is not PatchConvBlock:
        return f'{type(block).__name__} may compute otherwise'
    if type(block.norm) is not LayerNorm2d and not is_plain_batch_norm(block.norm):
        return f'{type(block.norm).__name__} cannot be folded into a convolution'
    with torch.device('meta'):
        reference = PatchConvBlock(len(block.gamma), 0.0, 0.0)
    reference.norm = block.norm
    return difference(block, reference)


class FoldedModule(nn.Module):
    """A part in eval mode that runs on tokens, in the dtype of its weights."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to map (B, C, H, W) in channels-last memory.

        With weights in half precision it runs in their dtype, also under autocast.
        """
        x = x.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
        dtype, device = next(self.parameters()).dtype, x.device.type
        # The meta device has no autocast and raises.
        if dtype == torch.float32 or not torch.amp.is_autocast_available(device):
            return self.run(x.to(dtype)).permute(0, 3, 1, 2)
        with torch.autocast(device, enabled=False):
            return self.run(x.to(dtype)).permute(0, 3, 1, 2)

    def run(self, x: Tensor) -> Tensor:
        """Tokens (B, H, W, C) to tokens (B, H, W, C)."""
        raise NotImplementedError


class FoldedBlock(FoldedModule):
    """A trained `PatchConvBlock` in eval mode; its weights can no longer be trained.

    Args:
        block: One that `why_not_folded` finds nothing in.
    """

    @torch.no_grad()
    def __init__(self, block: Any) -> None:
        super().__init__()
        norm: Any = block.norm
        weight, bias = block.pointwise_in.weight.flatten(1), block.pointwise_in.bias
        self.norm = norm if isinstance(norm, LayerNorm2d) else None
        if self.norm is None:
            scale, shift = scale_and_shift(norm)
            bias = bias + weight @ shift
            weight = weight * scale
        self.block_impl = block.block_impl
        self.linear_in = linear(weight, bias)
        self.depthwise = block.depthwise
        self.reduce, self.expand = (
            linear(layer.weight.flatten(1), layer.bias)
            for layer in (block.gate.reduce, block.gate.expand)
        )
        weight, bias = block.pointwise_out.weight.flatten(1), block.pointwise_out.bias
        self.linear_out = linear(block.gamma[:, None] * weight, block.gamma * bias)
        self.requires_grad_(False)

    def run(self, x: Tensor) -> Tensor:
        """Tokens (B, H, W, C) to tokens (B, H, W, C).

        If x needs a gradient, only torch's differentiable functions are used.
        """
        y, norm = x, self.norm
        if norm is not None:
            y = F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        if torch.is_grad_enabled() and x.requires_grad:
            return self.run_eager(x, y)
        if self.block_impl == 'triton' and triton.can_run(y):
            return self.run_triton(x, y)
        if cpu.can_run(y, self.linear_in.weight):
            return self.run_cpu(x, y)
        return self.run_eager(x, y)

    def run_eager(self, x: Tensor, y: Tensor) -> Tensor:
        """The sum of x and the branch of its norm y, both (B, H, W, C)."""
        y = F.gelu(self.linear_in(y)).permute(0, 3, 1, 2)  # (B, C, H, W)
        y = F.gelu(self.depthwise(y)).permute(0, 2, 3, 1)  # (B, H, W, C)
        gate = self.channel_gate(y.mean((1, 2)))
        return x + self.linear_out(y * gate[:, None, None])

    def run_cpu(self, x: Tensor, y: Tensor) -> Tensor:
        """The same on a CPU, with fewer passes over a map and fewer maps."""
        first, last = self.linear_in, self.linear_out
        y = cpu.linear_act(y, first.weight, first.bias, 'gelu').permute(0, 3, 1, 2)
        y = cpu.conv_act(y, self.depthwise, 'gelu')
        # `mean` is slower than pooling, and copies a bfloat16 map.
        gate = self.channel_gate(F.avg_pool2d(y, y.shape[2:]).flatten(1))
        y = y.permute(0, 2, 3, 1)
        weight = last.weight
        if len(y) == 1 and y.numel() > weight.numel():
            weight = weight * gate  # smaller than the map
        else:
            y = y.mul_(gate[:, None, None])
        return cpu.linear_sum(y, weight, last.bias, x)

    def run_triton(self, x: Tensor, y: Tensor) -> Tensor:
        """The same on a GPU, in Triton kernels."""
        from mmpatchconvnet.models.block.triton.gated_linear import gated_residual
        from mmpatchconvnet.models.block.triton.gelu_depthwise import gelu_depthwise

        depthwise: Any = self.depthwise
        last = self.linear_out
        y = self.linear_in(y)
        y, mean = gelu_depthwise(y, depthwise.weight.flatten(1), depthwise.bias)
        gate = self.channel_gate(mean.to(y.dtype))
        return gated_residual(x, y, gate, last.weight.to(y.dtype), last.bias)

    def channel_gate(self, mean: Tensor) -> Tensor:
        """Factors (B, C) of squeeze-and-excite from the mean (B, C) over a map."""
        return self.expand(F.relu(self.reduce(mean))).sigmoid()


class FoldedStem(nn.Module):
    """The stem for inference; on a CPU each GELU is fused with its convolution.

    Args:
        stem: A plain `ConvStem`, whose convolutions are reused.
    """

    def __init__(self, stem: Any) -> None:
        super().__init__()
        # In channels-last memory, so that all blocks get maps of one layout: one
        # compiled code serves them.
        stem = stem.to(memory_format=torch.channels_last)
        self.convs, self.projection = stem.convs, stem.projection

    def forward(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 2, 4 and so on, after their GELU, and of the column."""
        *inner, last = stem_steps(self)
        maps = []
        for conv in inner:
            x = (
                cpu.conv_act(x, conv, 'gelu')
                if cpu.can_run(x, conv.weight)
                else F.gelu(conv(x))
            )
            maps.append(x)
        return [*maps, last(x)]


def stem_steps(stem: Any) -> list[Any]:
    """All convolutions of a stem, in order."""
    return [*stem.convs, *([stem.projection] if stem.projection else [])]


def scale_and_shift(norm: Any) -> tuple[Tensor, Tensor]:
    """What a BatchNorm in eval mode multiplies by and adds, (C,) each."""
    mean, var = norm.running_mean, norm.running_var
    one = torch.ones_like(mean)[:, None]  # as behind a convolution by one
    scale, shift = fuse_conv_bn_weights(
        one, None, mean, var, norm.eps, norm.weight, norm.bias
    )
    return scale.detach().flatten(), shift.detach()


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0]).to(weight)
    layer.load_state_dict(dict(weight=weight, bias=bias))
    return layer
