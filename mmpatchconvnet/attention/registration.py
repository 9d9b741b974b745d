"""Registers the classifier without importing mmpretrain, which it needs.

`TransMix` and `MixPro` are in no registry of ours: mmpretrain's `BATCH_AUGMENTS` has no
parent, and finds `mmpatchconvnet.TransMix` by importing it.
"""

from typing import Any

from torch import nn

from mmpatchconvnet.registry import MODELS


@MODELS.register_module(name='AttentionMixClassifier')
def build_attention_mix_classifier(**settings: Any) -> nn.Module:
    """Build `AttentionMixClassifier`."""
    from mmpatchconvnet.attention.mix_classifier import AttentionMixClassifier

    return AttentionMixClassifier(**settings)
