"""Pictures made of two, with labels by the attention that each part receives.

`AttentionMixClassifier` trains with them; `TransMix` and `MixPro` say how pictures are
mixed and how much the attention counts.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class MixedBatch:
    """A batch whose pictures keep a part of their own and get the rest from a partner.

    Args:
        inputs: The mixed pictures (B, C, H, W).
        own: 1 where a picture kept its own pixels and 0 elsewhere, (B, 1, H, W).
        scores: Labels (B, K) of the pictures before mixing.
        partner_scores: Labels (B, K) of their partners.
    """

    inputs: Tensor
    own: Tensor
    scores: Tensor
    partner_scores: Tensor

    def area(self) -> Tensor:
        """The own part's share of the area (B,), in [0, 1]."""
        return self.own.mean((1, 2, 3))

    def labels(self, share: Tensor) -> Tensor:
        """Labels (B, K) in which the own part counts `share` (B,); sums stay equal."""
        share = share[:, None]
        return share * self.scores + (1 - share) * self.partner_scores


def attention_share(attention: Tensor, own: Tensor) -> Tensor:
    """The own part's share of the attention.

    Cells of the map count as equal parts of the picture, as in the official codes. The
    cells of a convolutional stem are centred elsewhere (`cells.py`): in `PatchConvNet`
    half a cell to the upper left, where `AttentionMap` draws them.

    Args:
        attention: Of one class token, (B, heads, 1, h, w); any positive scale.
        own: The part, (B, 1, H, W), in [0, 1]; averaged over the cells of the map, of
            which one may lie in both parts.

    Returns:
        Shares (B,) in [0, 1], float32. A map without any attention counts as uniform.
    """
    weights = attention.float().mean(1) + 1e-30  # (B, 1, h, w); never 0 / 0
    height, width = weights.shape[-2:]
    part = F.adaptive_avg_pool2d(own, (height, width))
    return (weights * part).sum((1, 2, 3)) / weights.sum((1, 2, 3))


class AttentionMix(ABC):
    """A batch augmentation of mmpretrain whose labels need the model's attention.

    Its call mixes a batch as mmpretrain expects it, with labels by area. In training,
    `AttentionMixClassifier` calls `mix`, the model, and then `labels`.

    Args:
        alpha: The share that a picture keeps is drawn from Beta(alpha, alpha).

    Raises:
        ValueError: `alpha` is not a positive number.
    """

    # Read by `compat.mmpretrain_mixing`: other classifiers refuse it when built.
    needs_attention = True

    def __init__(self, alpha: float) -> None:
        number = isinstance(alpha, (int, float)) and not isinstance(alpha, bool)
        if not number or not 0 < alpha < math.inf:
            raise ValueError(
                f'alpha={alpha!r} of {type(self).__name__}: give a positive number, '
                'such as 1.0.'
            )
        self.alpha = float(alpha)

    @abstractmethod
    def draw_own(self, batch: int, height: int, width: int) -> Tensor:
        """Draw where pictures keep their pixels: bool (B or 1, 1, H, W)."""

    @abstractmethod
    def labels(
        self, mixed: MixedBatch, attention: Tensor, predict: Callable[[], Tensor]
    ) -> Tensor:
        """Labels (B, K) of a mixed batch.

        Args:
            mixed: The batch.
            attention: What the model's class token gave it, (B, heads, 1, h, w).
            predict: Returns the model's probabilities (B, K) for it, with its head in
                evaluation mode.
        """

    def mix(self, inputs: Tensor, scores: Tensor) -> MixedBatch:
        """Mix pictures (B, C, H, W) with labels (B, K); neither is changed."""
        partner = torch.randperm(len(inputs)).to(inputs.device)
        own = self.draw_own(len(inputs), *inputs.shape[-2:]).to(inputs.device)
        return MixedBatch(
            inputs=torch.where(own, inputs, inputs[partner]),
            own=own.float().expand(len(inputs), -1, -1, -1),
            scores=scores.float(),
            partner_scores=scores[partner].float(),
        )

    def __call__(
        self, batch_inputs: Tensor, batch_score: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The mixed pictures (B, C, H, W), and labels (B, K) by area."""
        mixed = self.mix(batch_inputs, batch_score)
        return mixed.inputs, mixed.labels(mixed.area())
