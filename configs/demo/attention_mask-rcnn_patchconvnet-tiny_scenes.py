"""Trains an attention pooling on the frozen backbone of a Mask R-CNN: 300 steps.

It classifies the things of the generated scenes, so that `mmpatchconvnet attention`
shows where the backbone of the detector finds them. The checkpoint is that of `make
demo`; give another one of your own with

    --cfg-options model.backbone.init_cfg.checkpoint=PATH
"""

_base_ = 'classifier_patchconvnet-tiny_scenes.py'
from mmpatchconvnet.engine.config_edits import of_type

model = dict(
    backbone=dict(
        frozen_stages=12,  # all of them
        init_cfg=dict(
            _delete_=True,
            type='Pretrained',
            checkpoint='work_dirs/demo/mask-rcnn_patchconvnet-tiny_scenes/iter_400.pth',
            prefix='backbone.',
        ),
    )
)
max_iters = 300
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
of_type(_base_.param_scheduler, 'CosineAnnealingLR').end = max_iters
default_hooks = dict(checkpoint=dict(interval=max_iters))

# As large as in the scenes, for a map of 8 x 8 instead of 4 x 4.
of_type(_base_.train_pipeline, 'RandomResizedCrop').scale = 128
of_type(_base_.test_pipeline, 'Resize').scale = 128
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
del max_iters  # or it would become a setting
