"""The models; importing this fills the registry of `mmpatchconvnet.registry`."""

from mmpatchconvnet.models.attention_pooling import AttentionPooling
from mmpatchconvnet.models.patchconvnet import PatchConvNet
from mmpatchconvnet.models.pyramids import DeconvPyramid, ResizePyramid, SimplePyramid

__all__ = [
    'AttentionPooling',
    'DeconvPyramid',
    'PatchConvNet',
    'ResizePyramid',
    'SimplePyramid',
]
