"""A column of stride 8 instead of 16: four times the cells and the work."""

_base_ = '../demo/mask-rcnn_patchconvnet-tiny_nuclei.py'
from mmpatchconvnet.engine.config_edits import of_type

model = dict(backbone=dict(arch=dict(patch_size=8)))
of_type(_base_.model.neck, 'DeconvPyramid').patch_size = 8
