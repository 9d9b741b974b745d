"""BatchNorm in the blocks, where the base has LayerNorm."""

_base_ = '../demo/mask-rcnn_patchconvnet-tiny_nuclei.py'

model = dict(backbone=dict(norm_cfg=dict(type='BN')))
