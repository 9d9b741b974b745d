"""Slow pooling at twice the learning rate."""

_base_ = 'classifier_patchconvnet-tiny_slow-pooling_signs.py'

optim_wrapper = dict(optimizer=dict(lr=2e-3))
