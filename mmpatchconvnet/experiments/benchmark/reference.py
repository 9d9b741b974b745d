"""The column in the order of operations that the official code has.

Tokens (B, N, C) are normalized, laid out as a map (B, C, H, W) for the convolutions and
laid out as tokens again for the residual sum. It answers as our column does and is what
the speed of our column is measured against.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mmpatchconvnet.models import PatchConvNet


class ReferenceColumn(nn.Module):
    """A column of ours with its weights, run as the official code would.

    Args:
        column: With LayerNorm; the weights are shared, not copied.
    """

    def __init__(self, column: PatchConvNet) -> None:
        super().__init__()
        self.stem = column.stem
        self.blocks = column.blocks
        self.out_indices = column.out_indices
        self.stem_indices = column.stem_indices

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Image (B, 3, H, W) to the maps that the column of ours returns."""
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
    """One residual block over tokens (B, N, C) of a map of this height and width."""
    norm = block.norm
    y = F.layer_norm(tokens, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    y = F.gelu(block.pointwise_in(as_map(y, height, width)))
    y = block.gate(F.gelu(block.depthwise(y)))
    y = block.pointwise_out(y).flatten(2).transpose(1, 2)
    return tokens + block.drop_path(block.gamma * y)


def as_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """Tokens (B, N, C) as a contiguous map (B, C, H, W)."""
    return tokens.transpose(1, 2).unflatten(2, (height, width)).contiguous()
