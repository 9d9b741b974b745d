"""Mask R-CNN on COCO with PatchConvNet-S120, where the base has Swin-T."""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    '../_base_/columns/s120.py',
    'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.column),
    neck=[
        _base_.pyramid,
        dict(type='FPN', in_channels=[_base_.width] * 4, out_channels=256, num_outs=5),
    ],
)
