"""All levels from the last tap, as in ViTDet, instead of `DeconvPyramid`.

The norm is the BatchNorm of the base; ViTDet has LayerNorm.
"""

_base_ = '../demo/upernet_patchconvnet-tiny_aerial.py'

_base_.model.neck.type = 'mmpatchconvnet.SimplePyramid'
_base_.model.neck.norm_cfg = dict(type='BN')
