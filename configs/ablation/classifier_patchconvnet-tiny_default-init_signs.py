"""Convolutions start as the framework has them, where the base has Kaiming's.

Half the learning rate, as the best of three.
"""

_base_ = '../demo/classifier_patchconvnet-tiny_signs.py'

model = dict(backbone=dict(init_cfg=None))
optim_wrapper = dict(optimizer=dict(lr=5e-4))
