"""TransMix: pictures as in CutMix, labels by attention.

Paper: "TransMix: Attend to Mix for Vision Transformers", Chen et al. 2021,
https://arxiv.org/abs/2111.09833
Official code: https://github.com/Beckschen/TransMix
"""

from collections.abc import Callable

import numpy as np
import torch
from mmpretrain.models.utils.batch_augments import CutMix
from torch import Tensor

from mmpatchconvnet.attention.mixing import AttentionMix, MixedBatch, attention_share


class TransMix(AttentionMix):
    """Mixes as CutMix does and labels each part by the attention that it receives.

    One box for a batch is cut out of each picture's partner and pasted, as in
    mmpretrain's `CutMix`. The share of a picture's own label is the attention of the
    class token, averaged over the heads, times the mask of the own part at the
    resolution of the attention. No gradient flows through it.

    This is the paper's formula. The official code differs in two points: it averages
    this share with the share of the area, and samples the mask at one pixel of a cell
    where this averages over the cell.

    Args:
        alpha: The area that a picture keeps is drawn from Beta(alpha, alpha).

    Raises:
        ValueError: `alpha` is not a positive number.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__(alpha)
        self.cutmix = CutMix(self.alpha)

    def draw_own(self, batch: int, height: int, width: int) -> Tensor:
        """Everything but a box, the same one for the batch: bool (1, 1, H, W)."""
        kept = np.random.beta(self.alpha, self.alpha)
        top, bottom, left, right = self.cutmix.rand_bbox((height, width), kept)
        own = torch.ones(1, 1, height, width, dtype=torch.bool)
        own[..., top:bottom, left:right] = False
        return own

    def labels(
        self, mixed: MixedBatch, attention: Tensor, predict: Callable[[], Tensor]
    ) -> Tensor:
        """Labels (B, K) by the share of the attention."""
        return mixed.labels(attention_share(attention, mixed.own))
