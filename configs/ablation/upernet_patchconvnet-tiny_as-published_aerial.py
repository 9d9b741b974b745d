"""As published: LayerNorm, and the default initialization of convolutions."""

_base_ = '../demo/upernet_patchconvnet-tiny_aerial.py'

model = dict(backbone=dict(norm_cfg=None, init_cfg=None))
