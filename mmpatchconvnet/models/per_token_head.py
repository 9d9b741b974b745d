"""A classification head for one token per class; it extends a head of mmpretrain.

Paper: "Augmenting convolutional networks with attention-based aggregation", the variant
with a k x d matrix of tokens: https://arxiv.org/abs/2112.13692
"""

from collections.abc import Sequence

import torch
from mmpretrain.models.heads import ClsHead
from torch import Tensor, nn

from mmpatchconvnet.models.strict_init import StrictModule


class PerTokenLinearHead(StrictModule, ClsHead):
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
            loss=loss or dict(type='CrossEntropyLoss', loss_weight=1.0),
            topk=tuple(topk) if isinstance(topk, Sequence) else topk,
            cal_acc=cal_acc,
            init_cfg=init_cfg,
        )
        self.weight = nn.Parameter(torch.empty(num_classes, in_channels))
        self.bias = nn.Parameter(torch.zeros(num_classes))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, feats: Tensor | Sequence[Tensor]) -> Tensor:
        """Scores (B, K) of tokens (B, K, C); of several tensors, the last is used."""
        tokens = feats if isinstance(feats, Tensor) else feats[-1]
        if tokens.shape[1:] != self.weight.shape:
            num_classes, in_channels = self.weight.shape
            raise ValueError(
                f'PerTokenLinearHead got tokens of shape {tuple(tokens.shape)}: give '
                f'(B, {num_classes}, {in_channels}), from AttentionPooling('
                f'num_tokens={num_classes}).'
            )
        return (tokens * self.weight).sum(-1) + self.bias
