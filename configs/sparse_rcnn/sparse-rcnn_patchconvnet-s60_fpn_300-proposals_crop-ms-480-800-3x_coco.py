"""Sparse R-CNN on COCO for 36 epochs with PatchConvNet-S60 instead of ResNet-50."""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    '../_base_/runtime.py',
    '../_base_/columns/s60.py',
    'mmdet::sparse_rcnn/sparse-rcnn_r50_fpn_300-proposals_crop-ms-480-800-3x_coco.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.pop('column')),
    neck=[
        _base_.pop('pyramid'),
        dict(_base_.model.neck, in_channels=[_base_.pop('width')] * 4),
    ],
)
default_hooks = _base_.pop('hooks')
