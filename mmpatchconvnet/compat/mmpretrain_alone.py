"""Importing this right after mmpretrain keeps it from importing mmdet's models.

mmpretrain does so for one layer of detectors, `ResLayerExtraNorm`, which takes a third
of the time until a classifier trains. Here the layer follows when mmdet is imported,
also if mmpretrain has already tried and failed, without mmcv's ops.
"""

import sys
from types import ModuleType

from mmpatchconvnet.compat.import_hook import import_after

LAYER = 'mmpretrain.models.utils.res_layer_extra_norm'

if getattr(sys.modules.get(LAYER), 'ResLayerExtraNorm', None) is None:
    without_mmdet = ModuleType(LAYER)
    without_mmdet.ResLayerExtraNorm = None  # type: ignore[attr-defined] # as mmpretrain
    sys.modules[LAYER] = without_mmdet
    import_after('mmdet.models', 'mmpatchconvnet.compat.mmpretrain_with_mmdet')
