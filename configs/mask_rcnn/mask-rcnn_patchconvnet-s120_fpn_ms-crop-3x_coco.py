"""Mask R-CNN on COCO for 36 epochs with PatchConvNet-S120, not Swin-T."""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    '../_base_/columns/s120.py',
    'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_ms-crop-3x_coco.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.column),
    neck=[
        _base_.pyramid,
        dict(type='FPN', in_channels=[_base_.width] * 4, out_channels=256, num_outs=5),
    ],
)
