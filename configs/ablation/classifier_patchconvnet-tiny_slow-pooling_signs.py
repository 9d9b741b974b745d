"""Attention pooling at a tenth of the column's learning rate."""

_base_ = 'classifier_patchconvnet-tiny-p16_signs.py'

optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(neck=dict(lr_mult=0.1))))
