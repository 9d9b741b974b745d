"""Slow pooling, and colours that change at random."""

_base_ = 'classifier_patchconvnet-tiny_slow-pooling_signs.py'

from mmpatchconvnet.engine.config_edits import of_type, replace

pipeline = _base_.train_pipeline
jitter = dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
replace(
    pipeline,
    'PackInputs',
    dict(type='mmpretrain.ColorJitter', **jitter),
    of_type(pipeline, 'PackInputs'),
)
train_dataloader = dict(dataset=dict(pipeline=pipeline))
del jitter, pipeline  # or they would become settings
