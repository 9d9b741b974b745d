"""The models; importing this fills the registry of `mmpatchconvnet.registry`."""

from typing import Any

from torch import nn

from mmpatchconvnet.models.attention_pooling import AttentionPooling
from mmpatchconvnet.models.hmhsa import HMHSA
from mmpatchconvnet.models.patchconvnet import PatchConvNet
from mmpatchconvnet.models.plugins import with_plugins
from mmpatchconvnet.models.pyramids import DeconvPyramid, ResizePyramid, SimplePyramid
from mmpatchconvnet.models.transcnn import TransCNN
from mmpatchconvnet.registry import MODELS

__all__ = [
    'HMHSA',
    'AttentionPooling',
    'DeconvPyramid',
    'PatchConvNet',
    'ResizePyramid',
    'SimplePyramid',
    'TransCNN',
    'with_plugins',
]


@MODELS.register_module(name='PerTokenLinearHead')
def build_per_token_head(**settings: Any) -> nn.Module:
    """Build `PerTokenLinearHead`; only this imports mmpretrain, which it needs."""
    from mmpatchconvnet.models.per_token_head import PerTokenLinearHead

    return PerTokenLinearHead(**settings)


@MODELS.register_module(name='PerTokenMultiLabelHead')
def build_per_token_multi_label_head(**settings: Any) -> nn.Module:
    """Build `PerTokenMultiLabelHead`; only this imports mmpretrain, which it needs."""
    from mmpatchconvnet.models.per_token_head import PerTokenMultiLabelHead

    return PerTokenMultiLabelHead(**settings)


@MODELS.register_module(name='FastUPerHead')
def build_fast_uper_head(**settings: Any) -> nn.Module:
    """Build `FastUPerHead`; only this imports mmseg, which it needs."""
    from mmpatchconvnet.models.uper_head import FastUPerHead

    return FastUPerHead(**settings)
