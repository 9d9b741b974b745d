"""RetinaNet on COCO with TransCNN-Tiny instead of PVT-Tiny, under its recipe."""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    '../_base_/runtime.py',
    '../_base_/transcnn/tiny.py',
    'mmdet::pvt/retinanet_pvt-t_fpn_1x_coco.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.pop('backbone')),
    neck=dict(in_channels=_base_.pop('widths')),
)
default_hooks = _base_.pop('hooks')
