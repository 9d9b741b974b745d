"""Slow pooling behind 24 blocks instead of 12."""

_base_ = 'classifier_patchconvnet-tiny_slow-pooling_signs.py'

model = dict(backbone=dict(arch=dict(depth=24)))
