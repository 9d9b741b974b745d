"""Slow pooling, and stochastic depth in the column."""

_base_ = 'classifier_patchconvnet-tiny_slow-pooling_signs.py'

model = dict(backbone=dict(drop_path_rate=0.1))
