"""Classifies the things of the generated scenes: six classes, 600 steps."""

_base_ = [
    '../_base_/hosts/mmpretrain.py',
    '../_base_/models/classifier_patchconvnet-tiny.py',
    '../_base_/datasets/class_folders_small.py',
    '../_base_/datasets/scenes_classes.py',
    '../_base_/short_run.py',
]
from mmpatchconvnet.engine.config_edits import of_type

max_iters = 600
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
of_type(_base_.param_scheduler, 'CosineAnnealingLR').end = max_iters
default_hooks = dict(
    checkpoint=dict(interval=max_iters), prediction_sheet=dict(num_images=24)
)

classes = _base_.pop('classes')
num_classes = len(classes)
model = dict(head=dict(num_classes=num_classes))
data_preprocessor = dict(num_classes=num_classes)

metainfo = dict(classes=classes)
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = val_dataloader
# Or they would become settings.
del _base_.palette, classes, max_iters, metainfo, num_classes
