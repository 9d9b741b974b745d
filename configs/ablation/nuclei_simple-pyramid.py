"""All levels from the last tap, as in ViTDet, where the base has `DeconvPyramid`.

With the BatchNorm of the base, where ViTDet has LayerNorm.
"""

_base_ = '../demo/mask-rcnn_patchconvnet-tiny_nuclei.py'

_base_.model.neck[0].type = 'mmpatchconvnet.SimplePyramid'
_base_.model.neck[0].norm_cfg = dict(type='BN')
