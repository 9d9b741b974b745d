"""Names all classes in a generated scene, with a token and so a map for each class.

It learns from the names alone, without masks or boxes: 300 steps. The data is
`scenes/coco` of `make demo`.
"""

_base_ = [
    '../_base_/hosts/mmpretrain.py',
    '../_base_/models/classifier_patchconvnet-tiny.py',
    '../_base_/datasets/multi_label_small.py',
    '../_base_/datasets/scenes_classes.py',
    '../_base_/short_run.py',
]
from mmpatchconvnet.engine.config_edits import of_type

max_iters = 300
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
of_type(_base_.param_scheduler, 'CosineAnnealingLR').end = max_iters
default_hooks = dict(
    checkpoint=dict(interval=max_iters), prediction_sheet=dict(num_images=24)
)

classes = _base_.pop('classes')
num_classes = len(classes)
model = dict(
    neck=dict(num_tokens=num_classes),
    head=dict(
        _delete_=True,
        type='mmpatchconvnet.PerTokenMultiLabelHead',
        num_classes=num_classes,
        in_channels=_base_.model.neck.in_channels,
    ),
)
data_preprocessor = dict(num_classes=num_classes)

metainfo = dict(classes=classes)
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = val_dataloader
# Or they would become settings.
del _base_.palette, classes, max_iters, metainfo, num_classes
