"""All levels from the last tap, as in ViTDet, instead of `DeconvPyramid`.

The norm is the BatchNorm of the base; ViTDet has LayerNorm.
"""

_base_ = '../demo/mask-rcnn_patchconvnet-tiny_nuclei.py'

from mmpatchconvnet.engine.config_edits import of_type

of_type(_base_.model.neck, 'DeconvPyramid').update(
    type='mmpatchconvnet.SimplePyramid', norm_cfg=dict(type='BN')
)
