"""Slow pooling, and twice the steps."""

_base_ = 'classifier_patchconvnet-tiny_slow-pooling_signs.py'

from mmpatchconvnet.engine.config_edits import of_type

max_iters = 1200
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
of_type(_base_.param_scheduler, 'CosineAnnealingLR').end = max_iters
default_hooks = dict(checkpoint=dict(interval=max_iters))
del max_iters  # or it would become a setting
