"""Slow pooling, LayerNorm in the blocks, and the best rate with LayerNorm."""

_base_ = 'classifier_patchconvnet-tiny_layer-norm_signs.py'

optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(neck=dict(lr_mult=0.1))))
