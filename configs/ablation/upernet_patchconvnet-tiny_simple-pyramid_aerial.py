"""All levels from the last tap, as in ViTDet, where the base has `DeconvPyramid`."""

_base_ = '../demo/upernet_patchconvnet-tiny_aerial.py'

_base_.model.neck.type = 'mmpatchconvnet.SimplePyramid'
