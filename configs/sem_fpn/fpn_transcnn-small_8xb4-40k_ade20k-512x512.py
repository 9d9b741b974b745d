"""Semantic FPN on ADE20K with TransCNN-Small instead of ResNet-50.

Schedule and optimizer follow PVT's Semantic FPN: AdamW at 2e-4 for 40k steps of 8 x 4
crops; the base trains with SGD for 160k steps of 4 x 4.
"""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    '../_base_/runtime.py',
    '../_base_/transcnn/small.py',
    'mmseg::sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py',
]

model = dict(
    pretrained=None,
    backbone=dict(_delete_=True, **_base_.pop('backbone')),
    neck=dict(in_channels=_base_.pop('widths')),
)

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=2e-4, weight_decay=1e-4)
)
max_iters = 40000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [dict(type='PolyLR', power=0.9, end=max_iters, by_epoch=False)]
default_hooks = _base_.pop('hooks')
del max_iters  # or it would become a setting
