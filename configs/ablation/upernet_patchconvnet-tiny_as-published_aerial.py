"""LayerNorm, and convolutions that start as the framework has them: as published."""

_base_ = '../demo/upernet_patchconvnet-tiny_aerial.py'

model = dict(backbone=dict(norm_cfg=None, init_cfg=None))
