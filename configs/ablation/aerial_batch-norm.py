"""BatchNorm in the blocks, where the base has LayerNorm."""

_base_ = '../demo/upernet_patchconvnet-tiny_aerial.py'

model = dict(backbone=dict(norm_cfg=dict(type='BN')))
