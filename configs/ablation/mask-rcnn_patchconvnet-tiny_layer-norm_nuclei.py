"""LayerNorm in the blocks, as in all released models, where the base has BatchNorm."""

_base_ = '../demo/mask-rcnn_patchconvnet-tiny_nuclei.py'

model = dict(backbone=dict(norm_cfg=None))
