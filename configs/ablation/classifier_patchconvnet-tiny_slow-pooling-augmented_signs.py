"""Slow pooling, and stronger augmentation: crops, rotation, colours, erased parts."""

_base_ = 'classifier_patchconvnet-tiny_slow-pooling_signs.py'

from mmpatchconvnet.engine.config_edits import of_type, replace

pipeline = _base_.train_pipeline
of_type(pipeline, 'RandomResizedCrop').crop_ratio_range = (0.3, 1.0)
jitter = dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
replace(
    pipeline,
    'PackInputs',
    dict(type='mmpretrain.Rotate', angle=15.0, prob=0.5, random_negative_prob=0.5),
    dict(type='mmpretrain.ColorJitter', **jitter),
    dict(
        type='mmpretrain.RandomErasing',
        erase_prob=0.25,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=0.2,
    ),
    of_type(pipeline, 'PackInputs'),
)
train_dataloader = dict(dataset=dict(pipeline=pipeline))
del jitter, pipeline  # or they would become settings
