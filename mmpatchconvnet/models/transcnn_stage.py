"""The parts of TransCNN and HAT-Net around the attention: stem, block and stage.

`revised` says which of the two releases is meant: False is TransCNN, True is HAT-Net.
Paper and code: see `transcnn.py`.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from mmpatchconvnet.models.recompute import recompute


class Stem(nn.Module):
    """Two 3x3 convolutions of stride 2 with norm and SiLU between.

    A map (B, in_channels, H, W) becomes (B, embed_dims, ceil(H/4), ceil(W/4)).
    """

    def __init__(self, in_channels: int, embed_dims: int, norm_cfg: dict) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, stride=2, padding=1)
        self.norm = build_norm_layer(norm_cfg, 16)[1]
        self.conv2 = nn.Conv2d(16, embed_dims, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.silu(self.norm(self.conv1(x))))


class Downsample(nn.Module):
    """The step to the next stage: (B, C, H, W) to (B, D, ceil(H/2), ceil(W/2)).

    Revised: norm(conv(x)). First release: silu(norm(conv(x)) + norm2(residual(x))),
    where the residual is a max-pooling and a 1x1 convolution.
    """

    def __init__(
        self, in_channels: int, out_channels: int, norm_cfg: dict, revised: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.norm = build_norm_layer(norm_cfg, out_channels)[1]
        self.revised = revised
        if not revised:
            self.residual = nn.Conv2d(in_channels, out_channels, 1)
            self.residual_norm = build_norm_layer(norm_cfg, out_channels)[1]

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        if self.revised:
            return y
        pooled = F.max_pool2d(x, 2, ceil_mode=True)
        return F.silu(y + self.residual_norm(self.residual(pooled)))


class InvertedResidual(nn.Module):
    """The feed-forward part of a block, without its residual; it keeps the shape.

    1x1, SiLU, depthwise, SiLU, 1x1, norm, all convolutions without bias. The first
    release has a norm before each SiLU, the revised one before the whole.
    """

    def __init__(
        self,
        embed_dims: int,
        expansion: int,
        kernel_size: int,
        norm_cfg: dict,
        revised: bool,
    ) -> None:
        super().__init__()
        width = expansion * embed_dims

        def norm(num_channels: int, wanted: bool) -> nn.Module:
            if not wanted:
                return nn.Identity()
            return build_norm_layer(norm_cfg, num_channels)[1]

        self.norm_in = norm(embed_dims, revised)
        self.expand = nn.Conv2d(embed_dims, width, 1, bias=False)
        self.norm1 = norm(width, not revised)
        self.depthwise = nn.Conv2d(
            width,
            width,
            kernel_size,
            padding=kernel_size // 2,
            groups=width,
            bias=False,
        )
        self.norm2 = norm(width, not revised)
        self.reduce = nn.Conv2d(width, embed_dims, 1, bias=False)
        self.norm_out = norm(embed_dims, True)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.norm1(self.expand(self.norm_in(x))))
        y = F.silu(self.norm2(self.depthwise(y)))
        return self.norm_out(self.reduce(y))


class TransCNNBlock(nn.Module):
    """Attention, then an inverted residual, each added to the map (B, C, H, W)."""

    def __init__(
        self, attn: nn.Module, ffn: nn.Module, drop_path_rate: float = 0.0
    ) -> None:
        super().__init__()
        self.attn = attn
        self.ffn = ffn
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(x))
        return x + self.drop_path(self.ffn(x))


class Stage(nn.Module):
    """The step from the stage before, except in the first, and blocks of one width."""

    def __init__(self, downsample: nn.Module, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, with_cp: bool | int = False) -> Tensor:
        """The map of the stage before, or of the stem, to the map of this one."""
        x = self.downsample(x)
        step = int(with_cp) if torch.is_grad_enabled() else 0
        if not step:
            return run_in_turn(x, self.blocks)
        for first in range(0, len(self.blocks), step):
            group = self.blocks[first : first + step]
            x = recompute(run_in_turn, group, x, group)
        return x


def run_in_turn(x: Tensor, blocks: nn.ModuleList) -> Tensor:
    for block in blocks:
        x = block(x)
    return x
