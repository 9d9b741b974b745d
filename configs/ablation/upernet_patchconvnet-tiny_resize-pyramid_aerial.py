"""A pyramid without parameters instead of `DeconvPyramid`."""

_base_ = '../demo/upernet_patchconvnet-tiny_aerial.py'

_base_.model.neck.type = 'mmpatchconvnet.ResizePyramid'
