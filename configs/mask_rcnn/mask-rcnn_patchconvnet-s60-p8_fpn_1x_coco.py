"""Mask R-CNN on COCO with PatchConvNet-S60 of stride 8 instead of Swin-T."""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    '../_base_/runtime.py',
    '../_base_/columns/s60-p8.py',
    'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.pop('column')),
    neck=[
        _base_.pop('pyramid'),
        dict(
            type='FPN',
            in_channels=[_base_.pop('width')] * 4,
            out_channels=256,
            num_outs=5,
        ),
    ],
)
default_hooks = _base_.pop('hooks')
