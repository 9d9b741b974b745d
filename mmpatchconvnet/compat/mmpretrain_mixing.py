"""Importing this lets mmpretrain's classifiers refuse `TransMix` and `MixPro`.

They would train with labels by area, without a word: their data preprocessor mixes
before there is any attention.
"""

from typing import Any

from mmpretrain.models.classifiers.base import BaseClassifier

build = BaseClassifier.__init__


def build_and_check(
    self: Any, init_cfg: dict | None = None, data_preprocessor: Any = None
) -> None:
    build(self, init_cfg, data_preprocessor)
    if getattr(self, 'gives_attention', False):
        return
    mixing = getattr(self.data_preprocessor, 'batch_augments', None)
    for augment in getattr(mixing, 'augments', ()):
        if getattr(augment, 'needs_attention', False):
            raise ValueError(
                f'{type(augment).__name__} needs the attention of AttentionPooling, '
                f'which {type(self).__name__} does not use: set the type of the '
                "model to 'mmpatchconvnet.AttentionMixClassifier' and that of its neck "
                "to 'mmpatchconvnet.AttentionPooling', or use CutMix."
            )


BaseClassifier.__init__ = build_and_check
