"""ResNet-50 instead of ResNet-18."""

_base_ = 'mask-rcnn_resnet18_nuclei.py'

model = dict(backbone=dict(depth=50), neck=dict(in_channels=[256, 512, 1024, 2048]))
