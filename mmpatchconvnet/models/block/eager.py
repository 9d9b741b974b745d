"""The block of the column: its parameters and its reference implementation."""

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from mmpatchconvnet.models.block import triton
from mmpatchconvnet.models.block.lean import lean_forward
from mmpatchconvnet.models.layers import LayerNorm2d, SqueezeExcite

IMPLEMENTATIONS = ('eager', 'lean', 'triton')


class PatchConvBlock(nn.Module):
    """One residual block of the column; it keeps the shape of the map.

    x + drop_path(gamma * f(norm(x))), f = 1x1, GELU, depthwise 3x3, GELU,
    squeeze-and-excite, 1x1.

    Args:
        embed_dims: Width C of the map.
        layer_scale_init_value: Initial gamma.
        drop_path_rate: Stochastic depth, in [0, 1).
        norm_cfg: Norm; None is LayerNorm.
        block_impl: `eager`, `lean` or `triton`, see `PatchConvNet`.

    Raises:
        ValueError: An unknown `block_impl`, or one other than `eager` with a norm
            other than LayerNorm.
    """

    def __init__(
        self,
        embed_dims: int,
        layer_scale_init_value: float,
        drop_path_rate: float,
        norm_cfg: dict | None = None,
        block_impl: str = 'eager',
    ) -> None:
        super().__init__()
        if block_impl not in IMPLEMENTATIONS:
            raise ValueError(
                f'block_impl={block_impl!r} is unknown: give one of '
                f'{", ".join(IMPLEMENTATIONS)}.'
            )
        if norm_cfg and block_impl != 'eager':
            raise ValueError(
                f'block_impl={block_impl!r} needs LayerNorm, but norm_cfg={norm_cfg}: '
                "set block_impl='eager' or norm_cfg=None."
            )
        self.block_impl = block_impl
        self.norm = (
            build_norm_layer(norm_cfg, embed_dims)[1]
            if norm_cfg
            else LayerNorm2d(embed_dims)
        )
        self.pointwise_in = nn.Conv2d(embed_dims, embed_dims, 1)
        self.depthwise = nn.Conv2d(
            embed_dims, embed_dims, 3, padding=1, groups=embed_dims
        )
        self.gate = SqueezeExcite(embed_dims)
        self.pointwise_out = nn.Conv2d(embed_dims, embed_dims, 1)
        self.gamma = nn.Parameter(torch.full((embed_dims,), layer_scale_init_value))
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to map (B, C, H, W)."""
        if self.block_impl == 'triton' and triton.can_run(x):
            return lean_forward(self, x, fused=True)
        if self.block_impl != 'eager' and torch.is_grad_enabled():
            return lean_forward(self, x)
        y = self.norm(x)
        y = F.gelu(self.pointwise_in(y))
        y = F.gelu(self.depthwise(y))
        y = self.pointwise_out(self.gate(y))
        return x + self.drop_path(self.gamma.view(-1, 1, 1) * y)
