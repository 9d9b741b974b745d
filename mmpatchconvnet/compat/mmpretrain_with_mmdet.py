"""Importing this gives mmpretrain the layer that `mmpretrain_alone` has left out."""

import sys
from importlib import import_module

from mmpatchconvnet.compat.mmpretrain_alone import LAYER

sys.modules.pop(LAYER, None)
if utils := sys.modules.get('mmpretrain.models.utils'):
    utils.ResLayerExtraNorm = import_module(LAYER).ResLayerExtraNorm  # type: ignore[attr-defined]
