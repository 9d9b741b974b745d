"""ResNet-50 instead of ResNet-18."""

_base_ = 'classifier_resnet18_signs.py'

model = dict(backbone=dict(depth=50), head=dict(in_channels=2048))
