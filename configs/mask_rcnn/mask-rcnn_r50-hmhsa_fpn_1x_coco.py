"""Mask R-CNN on COCO with hierarchical attention in ResNet-50."""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    '../_base_/runtime.py',
    '../_base_/transcnn/resnet50-hmhsa.py',
    'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
]

model = dict(backbone=dict(plugins=_base_.pop('plugins')))
default_hooks = _base_.pop('hooks')
