"""Classification heads for one token per class; they extend heads of mmpretrain.

Paper: "Augmenting convolutional networks with attention-based aggregation", the variant
with a k x d matrix of tokens: https://arxiv.org/abs/2112.13692
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmpretrain.models.heads import ClsHead, MultiLabelClsHead
from torch import Tensor, nn

from mmpatchconvnet.models.strict_init import StrictModule


class TokenScores(StrictModule):
    """One linear score for each class token (B, K, C)."""

    def __init__(self, num_classes: int, in_channels: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.weight = nn.Parameter(torch.empty(num_classes, in_channels))
        self.bias = nn.Parameter(torch.zeros(num_classes))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, feats: Tensor | Sequence[Tensor]) -> Tensor:
        """Scores (B, K) of tokens (B, K, C); of several tensors, the last is used."""
        tokens = feats if isinstance(feats, Tensor) else feats[-1]
        if tokens.shape[1:] != self.weight.shape:
            num_classes, in_channels = self.weight.shape
            raise ValueError(
                f'{type(self).__name__} got tokens of shape {tuple(tokens.shape)}: '
                f'give (B, {num_classes}, {in_channels}), from AttentionPooling('
                f'num_tokens={num_classes}).'
            )
        return (tokens * self.weight).sum(-1) + self.bias


class PerTokenLinearHead(TokenScores, ClsHead):
    """One linear score for each class token of `AttentionPooling(num_tokens=K)`.

    Args:
        num_classes: Number K of classes and tokens.
        in_channels: Width C of a token.
        loss: Loss of mmpretrain.
        topk: The k for which accuracy is logged, if `cal_acc` is set.
        cal_acc: Log the accuracy while training.
        init_cfg: Initialization of mmengine.

    Raises:
        ValueError: The tokens are not (B, K, C).
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        loss: dict | None = None,
        topk: int | Sequence[int] = (1,),
        cal_acc: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            num_classes,
            in_channels,
            loss=loss or dict(type='CrossEntropyLoss', loss_weight=1.0),
            topk=tuple(topk) if isinstance(topk, Sequence) else topk,
            cal_acc=cal_acc,
            init_cfg=init_cfg,
        )


class PerTokenMultiLabelHead(TokenScores, MultiLabelClsHead):
    """`PerTokenLinearHead` for pictures of several classes: a sigmoid for each class.

    Args:
        num_classes: Number K of classes and tokens.
        in_channels: Width C of a token.
        loss: Loss of mmpretrain.
        thr: Classes with this score (0..1) or more are predicted; by default 0.5,
            unless `topk` is given.
        topk: This many classes are predicted.
        init_cfg: Initialization of mmengine.

    Raises:
        ValueError: The tokens are not (B, K, C).
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        loss: dict | None = None,
        thr: float | None = None,
        topk: int | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            num_classes,
            in_channels,
            loss=loss or dict(type='CrossEntropyLoss', use_sigmoid=True),
            thr=thr,
            topk=topk,
            init_cfg=init_cfg,
        )
