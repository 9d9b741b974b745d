"""LayerNorm in the blocks, as in all released models, instead of BatchNorm."""

_base_ = '../demo/upernet_patchconvnet-tiny_aerial.py'

model = dict(backbone=dict(norm_cfg=None))
