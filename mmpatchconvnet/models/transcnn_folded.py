"""TransCNN and HAT-Net for inference: fewer steps, the same up to rounding.

A BatchNorm is merged into the convolution before or behind it, and the gamma of
`HMHSA` into the projection. Maps stay in channels-last memory, where 1x1 convolutions
are plain matrix products, and windows are cut before queries, keys and values triple
their width. A GroupNorm stays as it is.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mmpatchconvnet.models.block import cpu
from mmpatchconvnet.models.block.folded import FoldedModule, linear, scale_and_shift
from mmpatchconvnet.models.hmhsa import (
    HMHSA,
    HierarchicalAttention,
    as_map,
    as_tokens,
    attend,
    attend_in_map,
    from_windows,
    to_windows,
)
from mmpatchconvnet.models.plain import difference, is_plain_batch_norm
from mmpatchconvnet.models.transcnn_stage import (
    Downsample,
    InvertedResidual,
    Stem,
    TransCNNBlock,
)

# Bytes of an expanded map on a CPU. Larger batches run in parts: the memory of one part
# is used again for the next, while the system clears new memory for a larger map.
EXPANDED = 8 * 2**20


class FoldedAttention(FoldedModule):
    """x + gamma * attention(x), for a trained `HierarchicalAttention` in eval mode.

    Args:
        attn: The attention.
        gamma: A number for each channel, or 1.
    """

    @torch.no_grad()
    def __init__(self, attn: Any, gamma: Tensor | float = 1.0) -> None:
        super().__init__()
        self.num_heads: int = attn.num_heads
        self.grid_size: int = attn.grid_size
        self.pool_ratio: int = attn.pool_ratio
        self.qkv, self.proj = as_linear(attn.qkv), as_linear(attn.proj)
        self.norm = merge_before(attn.norm, self.qkv)
        self.proj.weight.mul_(torch.as_tensor(gamma).view(-1, 1))
        self.proj.bias.mul_(gamma)
        if self.grid_size > 1:
            self.q, self.kv = as_linear(attn.q), as_linear(attn.kv)
            self.pool_norm = merge_before(attn.pool_norm, self.kv)
            self.grid_norm = attn.grid_norm
            self.grid_scale: nn.Parameter | None = None
            if is_plain_batch_norm(attn.grid_norm):
                # The norm of a sum, x and means of values: the second is one of values
                # that are scaled and shifted.
                scale, shift = scale_and_shift(attn.grid_norm)
                values = slice(2 * len(scale), None)
                self.qkv.weight[values] *= scale[:, None]
                self.qkv.bias[values] = self.qkv.bias[values] * scale + shift
                self.grid_norm, self.grid_scale = nn.Identity(), nn.Parameter(scale)

    def run(self, x: Tensor) -> Tensor:
        y = normalize(self.norm, x)
        if self.grid_size == 1:
            q, k, v = product(y, self.qkv).chunk(3, dim=-1)
            return product_sum(attend_in_map(q, k, v, self.num_heads), self.proj, x)
        windows, mask = to_windows(y, self.grid_size)
        q, k, v = product(windows, self.qkv).chunk(3, dim=-1)
        y = attend(q, k, v, self.num_heads, mask)
        y = from_windows(y, self.grid_size, x.shape)
        if self.grid_scale is not None:
            y = torch.addcmul(y, x, self.grid_scale)
        else:
            y = normalize(self.grid_norm, x + y)
        pooled = y
        if self.pool_ratio > 1:
            pooled = as_tokens(F.avg_pool2d(as_map(y), self.pool_ratio, ceil_mode=True))
        k, v = product(normalize(self.pool_norm, pooled), self.kv).chunk(2, dim=-1)
        means = attend_in_map(product(y, self.q), k, v, self.num_heads)
        return product_sum(y + means, self.proj, x)


class FoldedFeedForward(FoldedModule):
    """x + ffn(x), for a trained `InvertedResidual` in eval mode."""

    def __init__(self, ffn: Any) -> None:
        super().__init__()
        self.expand, self.reduce = as_linear(ffn.expand), as_linear(ffn.reduce)
        self.norm_in = merge_before(ffn.norm_in, self.expand)
        self.norm1 = merge_behind(self.expand, ffn.norm1)
        self.depthwise, self.norm2 = merge_conv(ffn.depthwise, ffn.norm2)
        self.norm_out = merge_behind(self.reduce, ffn.norm_out)

    def run(self, x: Tensor) -> Tensor:
        if not cpu.can_run(x, self.expand.weight):
            return self.run_part(x)
        picture = x[0, ..., 0].numel() * self.expand.out_features * x.element_size()
        parts = x.split(max(1, EXPANDED // picture))
        if len(parts) == 1:
            return self.run_part(x)
        return torch.cat([self.run_part(part) for part in parts])

    def run_part(self, x: Tensor) -> Tensor:
        y = product_silu(normalize(self.norm_in, x), self.expand, self.norm1)
        y = as_tokens(conv_silu(as_map(y), self.depthwise, self.norm2))
        if isinstance(self.norm_out, nn.Identity):
            return product_sum(y, self.reduce, x)
        return x + normalize(self.norm_out, product(y, self.reduce))


class FoldedTransCNNBlock(FoldedModule):
    """A trained `TransCNNBlock` in eval mode."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.attn = FoldedAttention(block.attn)
        self.ffn = FoldedFeedForward(block.ffn)

    def run(self, x: Tensor) -> Tensor:
        return self.ffn.run(self.attn.run(x))


KINDS = {
    *(Stem, Downsample, HMHSA, TransCNNBlock),
    *(HierarchicalAttention, InvertedResidual, type(None)),
}


# Those whose settings `untouched` reads.
CONVOLUTIONS = {
    *('conv1', 'conv2', 'conv'),
    *('attn.proj', 'ffn.expand', 'ffn.depthwise'),
}


def why_not_folded(part: Any) -> str:
    """Why a stem, step, block or `HMHSA` cannot be folded; empty if it can.

    Its norms may be any modules: those that cannot be merged are called.
    """
    parts = [part, *(getattr(part, name, None) for name in ('attn', 'ffn'))]
    for kind in map(type, parts):
        if kind not in KINDS:
            return f'{kind.__name__} may compute otherwise'
    for name, module in part.named_modules():
        if name in CONVOLUTIONS and type(module) is not nn.Conv2d:
            return f'{type(module).__name__} may compute otherwise'
    reference = untouched(part)
    for name, _ in list(reference.named_modules()):
        parent, _, last = name.rpartition('.')
        if 'norm' in last:  # torch 2.4 has no set_submodule
            setattr(reference.get_submodule(parent), last, part.get_submodule(name))
    return difference(part, reference)


def untouched(part: Any) -> nn.Module:
    """A part of the same kind and settings, without memory for its weights."""
    norm_cfg = dict(type='BN')
    with torch.device('meta'):
        if isinstance(part, Stem):
            return Stem(part.conv1.in_channels, part.conv2.out_channels, norm_cfg)
        if isinstance(part, Downsample):
            conv = part.conv
            return Downsample(
                conv.in_channels, conv.out_channels, norm_cfg, part.revised
            )
        width = part.attn.proj.out_channels
        attention = (
            *(width, width // part.attn.num_heads),
            *(part.attn.grid_size, part.attn.pool_ratio, norm_cfg),
        )
        if isinstance(part, HMHSA):
            return HMHSA(*attention)
        ffn = part.ffn
        return TransCNNBlock(
            HierarchicalAttention(*attention),
            InvertedResidual(
                width,
                ffn.expand.out_channels // width,
                ffn.depthwise.kernel_size[0],
                norm_cfg,
                not isinstance(ffn.norm_in, nn.Identity),
            ),
        )


def fold(part: Any) -> nn.Module:
    """A part in eval mode, folded in place or into another module.

    Args:
        part: One in which `why_not_folded` finds nothing.
    """
    if isinstance(part, TransCNNBlock):
        part = FoldedTransCNNBlock(part)
    elif isinstance(part, HMHSA):
        layer: Any = part
        layer.attn, layer.gamma = FoldedAttention(layer.attn, layer.gamma), None
    elif isinstance(part, Stem):
        part.conv1, part.norm = merge_conv(part.conv1, part.norm)
    else:
        part.conv, part.norm = merge_conv(part.conv, part.norm)
        if not part.revised:
            part.residual, part.residual_norm = merge_conv(
                part.residual, part.residual_norm
            )
    return part.requires_grad_(False)


@torch.no_grad()
def merge_before(norm: nn.Module, layer: Any) -> nn.Module:
    """Merge a norm into the linear layer behind it; returns what is left to call."""
    if not is_plain_batch_norm(norm):
        return norm
    scale, shift = scale_and_shift(norm)
    layer.bias += layer.weight @ shift
    layer.weight *= scale
    return nn.Identity()


@torch.no_grad()
def merge_behind(layer: Any, norm: nn.Module) -> nn.Module:
    """Merge a norm into the linear layer before it; returns what is left to call."""
    if not is_plain_batch_norm(norm):
        return norm
    scale, shift = scale_and_shift(norm)
    layer.weight *= scale[:, None]
    layer.bias *= scale
    layer.bias += shift
    return nn.Identity()


def merge_conv(conv: Any, norm: Any) -> tuple[Any, nn.Module]:
    """A convolution and the norm behind it, merged if possible."""
    if is_plain_batch_norm(norm):
        conv, norm = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return conv.to(memory_format=torch.channels_last), norm


@torch.no_grad()
def as_linear(conv: Any) -> nn.Linear:
    """A copy of a 1x1 convolution."""
    weight, bias = conv.weight.flatten(1), conv.bias
    return linear(weight, weight.new_zeros(len(weight)) if bias is None else bias)


def normalize(norm: nn.Module, x: Tensor) -> Tensor:
    """The norm of a map, for tokens (B, H, W, C)."""
    return as_tokens(norm(as_map(x)))


def product(x: Tensor, layer: Any) -> Tensor:
    """The layer of tokens (..., C)."""
    if cpu.can_run(x, layer.weight):
        return cpu.linear(x, layer.weight, layer.bias)
    return layer(x)


def product_silu(x: Tensor, layer: Any, norm: nn.Module) -> Tensor:
    """SiLU of the norm of the layer of tokens (B, H, W, C)."""
    if isinstance(norm, nn.Identity) and cpu.can_run(x, layer.weight):
        return cpu.linear_act(x, layer.weight, layer.bias, 'swish')
    return F.silu(normalize(norm, layer(x)))


def product_sum(x: Tensor, layer: Any, addend: Tensor) -> Tensor:
    """The layer of tokens (..., C), plus other tokens."""
    if cpu.can_run(x, layer.weight):
        return cpu.linear_sum(x, layer.weight, layer.bias, addend)
    return addend + layer(x)


def conv_silu(x: Tensor, conv: Any, norm: nn.Module) -> Tensor:
    """SiLU of the norm of the convolution of a map (B, C, H, W)."""
    if isinstance(norm, nn.Identity) and cpu.can_run(x, conv.weight):
        return cpu.conv_act(x, conv, 'swish')
    return F.silu(norm(conv(x)))
