"""Mask R-CNN on COCO with TransCNN-Tiny instead of Swin-T."""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    '../_base_/runtime.py',
    '../_base_/transcnn/tiny.py',
    'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.pop('backbone')),
    neck=dict(in_channels=_base_.pop('widths')),
)
default_hooks = _base_.pop('hooks')
