"""Our backbones in the order of operations of their official code.

The column: tokens (B, N, C) are normalized, copied to a map (B, C, H, W) for the
convolutions, and copied back to tokens for the residual sum. TransCNN: maps in
contiguous memory, SiLU in place, and attention as product, softmax and product, with
all scores in memory. The results equal ours. The speed of ours is measured relative to
them.
"""

from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mmpatchconvnet.models import PatchConvNet, TransCNN


def reference_of(backbone: nn.Module) -> nn.Module:
    """The same weights in the official order of operations."""
    if isinstance(backbone, TransCNN):
        return ReferenceTransCNN(backbone)
    assert isinstance(backbone, PatchConvNet)
    return ReferenceColumn(backbone)


class ReferenceColumn(nn.Module):
    """A column of ours with its weights, run as in the official code.

    Args:
        column: A column with LayerNorm; its weights are shared, not copied.
    """

    def __init__(self, column: PatchConvNet) -> None:
        super().__init__()
        self.stem = column.stem
        self.blocks = column.blocks
        self.out_indices = column.out_indices
        self.stem_indices = column.stem_indices

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Image (B, 3, H, W) to the maps that our column returns."""
        stem_maps = self.stem(x)
        outputs = [stem_maps[i] for i in self.stem_indices]
        height, width = stem_maps[-1].shape[2:]
        tokens = stem_maps[-1].flatten(2).transpose(1, 2)  # (B, N, C)
        for i, block in enumerate(self.blocks):
            tokens = reference_block(block, tokens, height, width)
            if i in self.out_indices:
                outputs.append(as_map(tokens, height, width))
        return tuple(outputs)


def reference_block(block: Any, tokens: Tensor, height: int, width: int) -> Tensor:
    """One residual block on tokens (B, N, C) of a map of this height and width."""
    norm = block.norm
    y = F.layer_norm(tokens, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    y = F.gelu(block.pointwise_in(as_map(y, height, width)))
    y = block.gate(F.gelu(block.depthwise(y)))
    y = block.pointwise_out(y).flatten(2).transpose(1, 2)
    return tokens + block.drop_path(block.gamma * y)


def as_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """Tokens (B, N, C) as a contiguous map (B, C, H, W)."""
    return tokens.transpose(1, 2).unflatten(2, (height, width)).contiguous()


class ReferenceTransCNN(nn.Module):
    """A TransCNN or HAT-Net of ours with its weights, run as in the official code.

    Args:
        backbone: One whose weights are shared, not copied. As in the official code, the
            windows must divide its maps.
    """

    def __init__(self, backbone: TransCNN) -> None:
        super().__init__()
        self.stem: Any = backbone.stem
        self.stages = backbone.stages
        self.out_indices = backbone.out_indices

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Image (B, 3, H, W) to the maps that our backbone returns."""
        x = self.stem.conv2(silu(self.stem.norm(self.stem.conv1(x))))
        outputs = []
        for i, stage in enumerate(self.stages):
            parts: Any = stage
            if i:
                x = reference_step(parts.downsample, x)
            for block in parts.blocks:
                x = x + block.drop_path(reference_attention(block.attn, x))
                x = x + block.drop_path(reference_ffn(block.ffn, x))
            if i in self.out_indices:
                outputs.append(x)
        return tuple(outputs)


silu = partial(F.silu, inplace=True)


def reference_step(step: Any, x: Tensor) -> Tensor:
    """The step to the next stage, of a map (B, C, H, W)."""
    y = step.norm(step.conv(x))
    if step.revised:
        return y
    pooled = F.max_pool2d(x, 2, ceil_mode=True)
    return silu(y + step.residual_norm(step.residual(pooled)))


def reference_ffn(ffn: Any, x: Tensor) -> Tensor:
    """The inverted residual of a map (B, C, H, W), without the residual."""
    y = silu(ffn.norm1(ffn.expand(ffn.norm_in(x))))
    y = silu(ffn.norm2(ffn.depthwise(y)))
    return ffn.norm_out(ffn.reduce(y))


def reference_attention(attn: Any, x: Tensor) -> Tensor:
    """Hierarchical attention of a map (B, C, H, W), without the residual."""
    batch, channels, height, width = x.shape
    heads, side = attn.num_heads, attn.grid_size
    head_dims = channels // heads
    qkv = attn.qkv(attn.norm(x))  # (B, 3C, H, W)
    if side == 1:
        q, k, v = qkv.reshape(batch, 3, heads, head_dims, -1).transpose(3, 4).unbind(1)
        y = softmax_attention(q, k, v)  # (B, heads, H*W, head_dims)
        return attn.proj(y.transpose(2, 3).reshape(x.shape))
    rows, columns = height // side, width // side
    if (rows * side, columns * side) != (height, width):
        raise ValueError(
            f'A map of {height} x {width} cells has windows of {side} x {side} that '
            'are not whole, as the official code needs: give images of another size.'
        )
    qkv = qkv.reshape(batch, 3, heads, head_dims, rows, side, columns, side)
    qkv = qkv.permute(1, 0, 2, 4, 6, 5, 7, 3)  # (3, B, heads, rows, columns, side, ...)
    q, k, v = qkv.reshape(3, -1, side * side, head_dims)
    y = softmax_attention(q, k, v).reshape(
        batch, heads, rows, columns, side, side, head_dims
    )
    x = attn.grid_norm(x + y.permute(0, 1, 6, 2, 4, 3, 5).reshape(x.shape))
    pooled = F.avg_pool2d(x, attn.pool_ratio) if attn.pool_ratio > 1 else x
    kv = attn.kv(attn.pool_norm(pooled))
    k, v = kv.reshape(batch, 2, heads, head_dims, -1).transpose(3, 4).unbind(1)
    q = attn.q(x).reshape(batch, heads, head_dims, -1).transpose(2, 3)
    y = softmax_attention(q, k, v)
    return attn.proj(x + y.transpose(2, 3).reshape(x.shape))


def softmax_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Means (..., N, D) of values v (..., M, D), with all scores (..., N, M)."""
    scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
    return scores.softmax(dim=-1) @ v
