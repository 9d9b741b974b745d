"""LayerNorm in the blocks, as in all released models, instead of BatchNorm."""

_base_ = '../demo/mask-rcnn_patchconvnet-tiny_nuclei.py'

model = dict(backbone=dict(norm_cfg=None))
