"""LayerNorm, and convolutions that start as the framework has them: as published.

A quarter of the base's learning rate; at the base's own it stays at 10 %.
"""

_base_ = '../demo/classifier_patchconvnet-tiny_signs.py'

model = dict(backbone=dict(norm_cfg=None, init_cfg=None))
optim_wrapper = dict(optimizer=dict(lr=2.5e-4))
