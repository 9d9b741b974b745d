"""A classifier that mixes pictures and labels them by its attention.

It extends a class of mmpretrain. Papers: see `transmix.py` and `mixpro.py`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import numpy as np
import torch
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmpatchconvnet.attention.mixing import AttentionMix
from mmpatchconvnet.models import AttentionPooling


class AttentionMixClassifier(ImageClassifier):
    """`ImageClassifier` for `TransMix` and `MixPro`: labels are set behind the neck.

    `train_cfg=dict(augments=[...], probs=[...])` is that of mmpretrain, and may also
    name its `Mixup`, `CutMix` and others. If it names one of ours, the classifier mixes
    the batch itself, in `loss` while training, instead of its data preprocessor. There
    is one pass through backbone and neck. Without one of ours it is an
    `ImageClassifier`.

    Args:
        backbone: Any backbone.
        neck: `AttentionPooling` with one token.
        head: Any head whose output are scores (B, K) of classes.
        pretrained: A checkpoint.
        train_cfg: The augmentations and their probabilities.
        data_preprocessor: Of mmpretrain.
        init_cfg: Initialization of mmengine.

    Raises:
        ValueError: An augmentation needs the attention of one class token, and the neck
            has none, or several; or there is a `train_cfg`, and a data preprocessor
            that is a module and so would ignore it.
    """

    gives_attention = True  # read by `compat.mmpretrain_mixing`

    def __init__(
        self,
        backbone: dict | nn.Module,
        neck: dict | nn.Module | None = None,
        head: dict | nn.Module | None = None,
        pretrained: str | None = None,
        train_cfg: dict | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        if isinstance(data_preprocessor, nn.Module):
            if train_cfg:
                raise ValueError(
                    'train_cfg would be ignored, as data_preprocessor is a module '
                    f'({type(data_preprocessor).__name__}): give data_preprocessor as '
                    'a dict, or give the module batch_augments instead of train_cfg.'
                )
        else:
            # mmpretrain writes into both, so that they could not be built twice.
            train_cfg, data_preprocessor = deepcopy((train_cfg, data_preprocessor))
        super().__init__(
            backbone, neck, head, pretrained, train_cfg, data_preprocessor, init_cfg
        )
        mixing = getattr(self.data_preprocessor, 'batch_augments', None)
        augments = getattr(mixing, 'augments', ())
        ours = [augment for augment in augments if isinstance(augment, AttentionMix)]
        self.mixing = mixing if ours else None
        if ours:
            check_attention(self.neck, type(ours[0]).__name__)
            self.data_preprocessor.batch_augments = None

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict:
        """Losses of pictures (B, C, H, W); neither they nor the samples are changed."""
        if self.mixing is None:
            return super().loss(inputs, data_samples)
        augment = None
        if self.training:  # drawn as `RandomBatchAugment` does
            augments = self.mixing.augments
            augment = augments[np.random.choice(len(augments), p=self.mixing.probs)]
        scores = torch.stack([sample.gt_score for sample in data_samples]).float()
        if isinstance(augment, AttentionMix):
            mixed = augment.mix(inputs, scores)
            maps = self.extract_feat(mixed.inputs, stage='backbone')
            feats, attention = self.neck(maps, return_attention=True)

            def predict() -> Tensor:
                # Not under `no_grad`: autocast of older torch would keep the head's
                # weights in half precision without a gradient, and use them below.
                with evaluating(self.head):
                    return self.head(feats).detach().float().softmax(1)

            scores = augment.labels(mixed, attention.detach(), predict)
        else:
            if augment is not None:
                # A copy, as mmpretrain's CutMix writes into its input.
                inputs, scores = augment(inputs.clone(), scores)
            feats = self.extract_feat(inputs)
        labelled = [
            sample.clone().set_gt_score(score)
            for sample, score in zip(data_samples, scores, strict=True)
        ]
        return self.head.loss(feats, labelled)


@contextmanager
def evaluating(head: nn.Module) -> Iterator[None]:
    """A head without dropout, whose norms learn nothing from what it sees."""
    modes = {module: module.training for module in head.modules()}
    head.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def check_attention(neck: nn.Module | None, name: str) -> None:
    """Raise if a neck has not the attention of one class token."""
    if not isinstance(neck, AttentionPooling):
        given = 'no neck' if neck is None else f'the neck {type(neck).__name__}'
        raise ValueError(
            f'{name} needs the attention of AttentionPooling, and the model has '
            f"{given}: set neck=dict(type='mmpatchconvnet.AttentionPooling', "
            'in_channels=...), or use CutMix.'
        )
    if neck.num_tokens > 1:
        raise ValueError(
            f'{name} needs the attention of one class token, and num_tokens='
            f'{neck.num_tokens}: set num_tokens=1 of AttentionPooling, or use CutMix.'
        )
