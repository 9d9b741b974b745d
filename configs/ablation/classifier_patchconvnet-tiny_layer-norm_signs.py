"""LayerNorm in the blocks, as in all released models, instead of BatchNorm.

Half the base's learning rate, the best of three.
"""

_base_ = 'classifier_patchconvnet-tiny-p16_signs.py'

model = dict(backbone=dict(norm_cfg=None))
optim_wrapper = dict(optimizer=dict(lr=5e-4))
