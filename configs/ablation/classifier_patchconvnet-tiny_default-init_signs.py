"""The default initialization of convolutions instead of the base's Kaiming.

Half the base's learning rate, the best of three.
"""

_base_ = '../demo/classifier_patchconvnet-tiny_signs.py'

model = dict(backbone=dict(init_cfg=None))
optim_wrapper = dict(optimizer=dict(lr=5e-4))
