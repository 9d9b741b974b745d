"""A pyramid without parameters instead of `DeconvPyramid`."""

_base_ = '../demo/mask-rcnn_patchconvnet-tiny_nuclei.py'

from mmpatchconvnet.engine.config_edits import of_type

of_type(_base_.model.neck, 'DeconvPyramid').type = 'mmpatchconvnet.ResizePyramid'
