"""The default initialization of convolutions instead of the base's Kaiming.

Half the base's learning rate, the best of three.
"""

_base_ = 'classifier_patchconvnet-tiny-p16_signs.py'

model = dict(backbone=dict(init_cfg=None))
optim_wrapper = dict(optimizer=dict(lr=5e-4))
