"""LayerNorm, and convolutions that start as the framework has them: as published."""

_base_ = '../demo/mask-rcnn_patchconvnet-tiny_nuclei.py'

model = dict(backbone=dict(norm_cfg=None, init_cfg=None))
