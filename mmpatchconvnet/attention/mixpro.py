"""MixPro: pictures mixed by a grid, labels by attention as far as it can be trusted.

Paper: "MixPro: Data Augmentation with MaskMix and Progressive Attention Labeling for
Vision Transformer", Zhao et al. 2023, https://arxiv.org/abs/2304.12043
Official code: https://github.com/fistyee/MixPro
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmpatchconvnet.attention.mixing import AttentionMix, MixedBatch, attention_share


class MixPro(AttentionMix):
    """Mixes by a grid of cells and labels by area first, by attention later.

    MaskMix: each picture keeps the pixels of as many cells of a grid, at places of its
    own, and gets the others from its partner. A cell covers whole patches of the model.
    Of a patch embedding, as in the paper, no patch shows two pictures. A convolutional
    stem looks beyond a patch: in `PatchConvNet` half a patch to the upper left, so at
    the top and left edge of a cell its maps see the neighbouring picture too.

    Progressive attention labeling: the share of a picture's own label is
    `c * attention + (1 - c) * area`, both shares of the part that it kept. The factor
    `c` is the cosine similarity between the model's probabilities and the labels by
    area; it grows as the model learns. No gradient flows through the labels.

    Formula and drawing follow the official code (`main.py` and `utils.py`, commit
    53a229e). It differs in these points: its gradient flows through `c`, its labels in
    `c` are smoothed, and it counts cells for the area, where this counts pixels.

    Args:
        alpha: The share of the cells that a picture keeps is drawn from
            Beta(alpha, alpha) and rounded up.
        cell_size: Side of a cell in pixels. The official code has 4 patches of 14.
        patch_size: Side of a patch, i.e. the stride of the map that is pooled.

    Raises:
        ValueError: `alpha` is not a positive number, `cell_size` is no multiple of
            `patch_size`, a picture has a single cell, or `patch_size` is not the
            stride of the map.
    """

    def __init__(
        self, alpha: float = 1.0, cell_size: int = 64, patch_size: int = 16
    ) -> None:
        super().__init__(alpha)
        for name, size in dict(patch_size=patch_size, cell_size=cell_size).items():
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise ValueError(
                    f'{name}={size!r} of MixPro: give a positive whole number of '
                    'pixels.'
                )
        if cell_size % patch_size:
            raise ValueError(
                f'cell_size={cell_size} of MixPro is no multiple of patch_size='
                f'{patch_size}: give {patch_size}, {2 * patch_size} or another one.'
            )
        self.cell_size, self.patch_size = cell_size, patch_size

    def draw_own(self, batch: int, height: int, width: int) -> Tensor:
        """Cells of a grid, others for each picture: bool (B, 1, H, W)."""
        size = self.cell_size
        rows, columns = math.ceil(height / size), math.ceil(width / size)
        cells = rows * columns
        if cells == 1:
            raise ValueError(
                f'cell_size={size} of MixPro covers a whole picture of {height} x '
                f'{width}: give a smaller multiple of patch_size.'
            )
        kept = math.ceil(cells * np.random.beta(self.alpha, self.alpha))
        order = torch.rand(batch, cells).argsort(1)  # a permutation for each picture
        own = (order < kept).view(batch, 1, rows, columns)
        own = own.repeat_interleave(size, 2).repeat_interleave(size, 3)
        return own[..., :height, :width]

    def labels(
        self, mixed: MixedBatch, attention: Tensor, predict: Callable[[], Tensor]
    ) -> Tensor:
        """Labels (B, K) by the shares of the attention and of the area."""
        self.check_stride(mixed.inputs.shape[-2:], attention.shape[-2:])
        area = mixed.area()
        confidence = F.cosine_similarity(mixed.labels(area), predict())  # (B,)
        confidence = confidence.clamp(max=1)  # it may be 1.0000001
        by_attention = attention_share(attention, mixed.own)
        return mixed.labels(confidence * by_attention + (1 - confidence) * area)

    def check_stride(self, size: Sequence[int], cells: Sequence[int]) -> None:
        """Raise if pictures of a size do not have a map of so many cells."""
        patch = self.patch_size
        if any(
            count not in (side // patch, math.ceil(side / patch))
            for side, count in zip(size, cells, strict=True)
        ):
            raise ValueError(
                f'patch_size={patch} of MixPro is not the stride of the backbone, '
                f'whose map of pictures of {size[0]} x {size[1]} has {cells[0]} x '
                f'{cells[1]} cells: set patch_size to this stride, and cell_size to a '
                'multiple of it.'
            )
