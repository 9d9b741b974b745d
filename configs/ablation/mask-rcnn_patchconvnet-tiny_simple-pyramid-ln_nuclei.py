"""All levels from the last tap with LayerNorm, as in ViTDet."""

_base_ = 'nuclei_simple-pyramid.py'

_base_.model.neck[0].norm_cfg = dict(type='mmpatchconvnet.LayerNorm2d', eps=1e-6)
