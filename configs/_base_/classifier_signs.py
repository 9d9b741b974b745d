"""A small classifier of the ten digits of sign language: 600 real pictures, 600 steps.

The data are those of Mavi 2020, https://arxiv.org/abs/2011.08927.
"""

_base_ = [
    'hosts/mmpretrain.py',
    'models/classifier_patchconvnet-tiny.py',
    'datasets/class_folders_small.py',
    'short_run.py',
]
from mmpatchconvnet.engine.config_edits import of_type

max_iters = 600
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
of_type(_base_.param_scheduler, 'CosineAnnealingLR').end = max_iters
default_hooks = dict(
    checkpoint=dict(interval=max_iters), prediction_sheet=dict(num_images=24)
)

of_type(_base_.train_pipeline, 'RandomResizedCrop').scale = 96
of_type(_base_.test_pipeline, 'Resize').scale = 96

metainfo = dict(classes=tuple('0123456789'))
num_classes = len(metainfo['classes'])
model = dict(head=dict(num_classes=num_classes))
data_preprocessor = dict(num_classes=num_classes)
train_dataloader = dict(dataset=dict(metainfo=metainfo, pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(metainfo=metainfo, pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
del max_iters, metainfo, num_classes  # or they would become settings
