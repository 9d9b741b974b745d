"""RTMDet-Ins-L on COCO with PatchConvNet-S60 instead of CSPNeXt-L.

Colours, learning rate and schedule are those of the host's RTMDet-L with a pre-trained
Swin-B: 100 epochs instead of 300, which train CSPNeXt from random weights.
"""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    '../_base_/runtime.py',
    '../_base_/columns/s60.py',
    'mmdet::rtmdet/rtmdet-ins_l_8xb32-300e_coco.py',
]

from mmpatchconvnet.engine.config_edits import of_type

_base_.column.out_indices = (29, 39, 59)
_base_.pyramid.scales = (2, 1, 0.5)
model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(_delete_=True, **_base_.pop('column')),
    neck=[
        _base_.pop('pyramid'),
        dict(_base_.model.neck, in_channels=[_base_.pop('width')] * 3),
    ],
)
base_lr, max_epochs = 1e-3, 100
stage2_num_epochs = 10  # without mosaic and mixup
optim_wrapper = dict(optimizer=dict(lr=base_lr))
of_type(_base_.param_scheduler, 'CosineAnnealingLR').update(
    eta_min=base_lr * 0.05,
    begin=max_epochs // 2,
    end=max_epochs,
    T_max=max_epochs // 2,
)
train_cfg = dict(
    max_epochs=max_epochs, dynamic_intervals=[(max_epochs - stage2_num_epochs, 1)]
)
of_type(_base_.custom_hooks, 'PipelineSwitchHook').switch_epoch = (
    max_epochs - stage2_num_epochs
)
default_hooks = _base_.pop('hooks')
