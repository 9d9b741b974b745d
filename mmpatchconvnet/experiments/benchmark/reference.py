"""The column in the official code's order of operations.

Tokens (B, N, C) are normalized, copied to a map (B, C, H, W) for the convolutions, and
copied back to tokens for the residual sum. The results equal those of our column. The
speed of our column is measured relative to it.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mmpatchconvnet.models import PatchConvNet


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
