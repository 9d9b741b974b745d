"""Hierarchical multi-head self-attention (HMHSA): within windows, then over the map.

Paper: "Transformer in convolutional neural networks" (TransCNN), revised as "Vision
transformers with hierarchical attention" (HAT-Net), Liu et al. 2021,
https://arxiv.org/abs/2106.03180
Official code (classifier only): https://github.com/yun-liu/HAT-Net

Every position attends to its own window of side g. The result then attends to itself,
averaged over squares of side r, so that the cost grows with g * g and H * W / (r * r)
for each position instead of H * W.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from mmpatchconvnet.models.layers import check_map
from mmpatchconvnet.models.strict_init import StrictModule
from mmpatchconvnet.registry import MODELS

# One group: mean and variance are those of the whole map of a picture.
GROUP_NORM = dict(type='GN', num_groups=1, eps=1e-6)


class HierarchicalAttention(nn.Module):
    """The attention of one block, without its residual; it keeps the shape of the map.

    Args:
        in_channels: Channels C of the map.
        head_dims: Channels of one head, a divisor of C.
        grid_size: Side g of the windows in cells; 1 is plain attention over the map.
        pool_ratio: Side r of the squares that are averaged for keys and values.
        norm_cfg: Norm of the maps; None is GroupNorm with one group.

    Raises:
        ValueError: `head_dims` does not divide C, or a side is out of range.
    """

    def __init__(
        self,
        in_channels: int,
        head_dims: int,
        grid_size: int,
        pool_ratio: int,
        norm_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        if head_dims < 1 or in_channels % head_dims:
            raise ValueError(
                f'head_dims={head_dims} does not split {in_channels} channels into '
                f'heads: give a divisor of {in_channels}.'
            )
        if grid_size < 1 or pool_ratio < 1:
            raise ValueError(
                f'grid_size={grid_size}, pool_ratio={pool_ratio}: give sides of at '
                'least one cell.'
            )
        if grid_size == 1 and pool_ratio > 1:
            raise ValueError(
                f'grid_size=1 is plain attention, which pools nothing, but pool_ratio='
                f'{pool_ratio}: set pool_ratio=1, or a grid_size above 1.'
            )
        self.num_heads = in_channels // head_dims
        self.grid_size = grid_size
        self.pool_ratio = pool_ratio
        norm_cfg = norm_cfg or GROUP_NORM
        self.norm = build_norm_layer(norm_cfg, in_channels)[1]
        self.qkv = nn.Conv2d(in_channels, 3 * in_channels, 1)
        if grid_size > 1:
            self.grid_norm = build_norm_layer(norm_cfg, in_channels)[1]
            self.q = nn.Conv2d(in_channels, in_channels, 1)
            self.pool_norm = build_norm_layer(norm_cfg, in_channels)[1]
            self.kv = nn.Conv2d(in_channels, 2 * in_channels, 1)
        self.proj = nn.Conv2d(in_channels, in_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to map (B, C, H, W), any H and W from 1 on."""
        qkv = as_tokens(self.qkv(self.norm(x)))  # (B, H, W, 3C)
        if self.grid_size == 1:
            q, k, v = qkv.chunk(3, dim=-1)
            return self.proj(as_map(attend_in_map(q, k, v, self.num_heads)))
        y = attend_in_windows(qkv, self.num_heads, self.grid_size)
        x = self.grid_norm(x + as_map(y))
        pooled = x
        if self.pool_ratio > 1:  # a square at the border is the mean of what it has
            pooled = F.avg_pool2d(x, self.pool_ratio, ceil_mode=True)
        k, v = as_tokens(self.kv(self.pool_norm(pooled))).chunk(2, dim=-1)
        y = attend_in_map(as_tokens(self.q(x)), k, v, self.num_heads)
        return self.proj(x + as_map(y))


@MODELS.register_module()
class HMHSA(StrictModule):
    """Hierarchical attention as a layer for any map, added to it: x + gamma * f(x).

    Its gamma, one number for each channel, starts at 0: in a trained network the layer
    changes nothing until it is trained itself. As a plugin of mmdet's or mmseg's
    ResNet, where its blocks are narrow:

        plugins = [dict(
            cfg=dict(type='mmpatchconvnet.HMHSA', grid_size=8, pool_ratio=2),
            stages=(False, False, True, True),
            position='after_conv2')]

    Args:
        in_channels: Channels C of the map.
        head_dims: Channels of one head, a divisor of C.
        grid_size: Side g, from 1 on, of the windows of the attention within windows, in
            cells. 1 leaves it out, which is plain attention over the map.
        pool_ratio: Side r, from 1 on, of the squares whose means are the keys and
            values of the attention over the map. With `grid_size=1` it must be 1.
        norm_cfg: Norm of the maps; None is GroupNorm with one group, as in HAT-Net.
        init_cfg: Initialization of mmengine.

    Raises:
        ValueError: `head_dims` does not divide C, a side is out of range, or a map is
            empty or of another width.

    Example:
        >>> import torch
        >>> from mmpatchconvnet import HMHSA
        >>> layer = HMHSA(in_channels=128, grid_size=7, pool_ratio=4)
        >>> x = torch.rand(2, 128, 15, 33)
        >>> torch.equal(layer(x), x)
        True
    """

    _abbr_ = 'hmhsa'  # its name in a network that has it as a plugin

    def __init__(
        self,
        in_channels: int,
        head_dims: int = 64,
        grid_size: int = 8,
        pool_ratio: int = 2,
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.in_channels = in_channels
        self.attn = HierarchicalAttention(
            in_channels, head_dims, grid_size, pool_ratio, norm_cfg
        )
        # Not a zero projection: a host may initialize all convolutions again.
        self.gamma: nn.Parameter | None = nn.Parameter(torch.zeros(in_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to map (B, C, H, W), any H and W from 1 on."""
        check_map(x, 'HMHSA', 'a map', self.in_channels)
        if self.gamma is None:  # folded for inference
            return self.attn(x)
        y = self.attn(x)
        return x + self.gamma.to(y.dtype).view(-1, 1, 1) * y


def as_tokens(x: Tensor) -> Tensor:
    """View of a map (B, C, H, W) as tokens (B, H, W, C)."""
    return x.permute(0, 2, 3, 1)


def as_map(x: Tensor) -> Tensor:
    """View of tokens (B, H, W, C) as a map (B, C, H, W)."""
    return x.permute(0, 3, 1, 2)


def attend(
    q: Tensor, k: Tensor, v: Tensor, num_heads: int, mask: Tensor | None = None
) -> Tensor:
    """Each token of q attends to all tokens of k and v.

    Args:
        q: Queries (B, N, C).
        k: Keys (B, M, C).
        v: Values (B, M, C).
        num_heads: Heads, each of C / num_heads channels.
        mask: True where a key counts, (B, M).

    Returns:
        The means of the values, (B, N, C).
    """

    def split_heads(x: Tensor) -> Tensor:  # (B, heads, N, C / heads)
        if x.stride(-1) != 1:  # or torch would keep all scores in memory
            x = x.contiguous()
        return x.unflatten(2, (num_heads, -1)).transpose(1, 2)

    if mask is not None:
        mask = mask[:, None, None]  # (B, 1, 1, M), for all heads and queries
    y = F.scaled_dot_product_attention(
        split_heads(q), split_heads(k), split_heads(v), attn_mask=mask
    )
    return y.transpose(1, 2).flatten(2)


def attend_in_map(q: Tensor, k: Tensor, v: Tensor, num_heads: int) -> Tensor:
    """`attend` with q (B, H, W, C) and k and v (B, h, w, C); returns (B, H, W, C)."""
    y = attend(q.flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2), num_heads)
    return y.unflatten(1, q.shape[1:3])


def attend_in_windows(qkv: Tensor, num_heads: int, side: int) -> Tensor:
    """Each position attends to those of its window, of `side` times `side` cells.

    Windows start at the upper left. Those that reach over the border have fewer keys:
    the map is padded for them, and the padding is masked.

    Args:
        qkv: Queries, keys and values (B, H, W, 3C).
        num_heads: Heads, each of C / num_heads channels.
        side: Side of a window.

    Returns:
        The means of the values, (B, H, W, C).
    """
    windows, mask = to_windows(qkv, side)
    q, k, v = windows.chunk(3, dim=-1)
    return from_windows(attend(q, k, v, num_heads, mask), side, qkv.shape)


def to_windows(x: Tensor, side: int) -> tuple[Tensor, Tensor | None]:
    """Cut tokens (B, H, W, C) into n windows, row by row, padded where they end.

    Returns:
        The windows (B*n, side * side, C), and, if there is padding, which of their
        tokens are real, (B*n, side * side).
    """
    padded, mask = pad_to_windows(x, side)
    return cut(padded, side), mask


def pad_to_windows(x: Tensor, side: int) -> tuple[Tensor, Tensor | None]:
    """Pad tokens (B, H, W, C) at the bottom and the right to n whole windows.

    Returns:
        The padded tokens, and which tokens of the windows are real,
        (B*n, side * side); the tokens themselves and None if they need no padding.
    """
    height, width = x.shape[1:3]
    bottom, right = -height % side, -width % side
    if not (bottom or right):
        return x, None
    padded = F.pad(x, (0, 0, 0, right, 0, bottom))
    return padded, real_tokens(padded, height, width, side)


def real_tokens(padded: Tensor, height: int, width: int, side: int) -> Tensor:
    """Which tokens of windows lie in the map: (B*n, side * side), row by row.

    Args:
        padded: The tokens after padding (B, H, W, C).
        height: Their height before.
        width: Their width before.
        side: Side of a window, a divisor of H and W.
    """
    batch, *sizes, _ = padded.shape
    rows, columns = (torch.arange(n, device=padded.device) for n in sizes)
    real = (rows < height)[:, None] & (columns < width)
    return cut(real[None, :, :, None], side).flatten(1).repeat(batch, 1)


def cut(x: Tensor, side: int) -> Tensor:
    """Tokens (B, H, W, C) to windows (B*n, side * side, C); side divides H and W."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // side, side, width // side, side, channels)
    return x.transpose(2, 3).reshape(-1, side * side, channels)


def from_windows(x: Tensor, side: int, shape: Sequence[int]) -> Tensor:
    """The inverse of `to_windows` for tokens of a shape (B, H, W, any)."""
    batch, height, width, _ = shape
    rows, columns = (height + side - 1) // side, (width + side - 1) // side
    x = x.reshape(batch, rows, columns, side, side, x.shape[-1]).transpose(2, 3)
    x = x.reshape(batch, rows * side, columns * side, x.shape[-1])
    return x[:, :height, :width]
