"""ResNet-50 instead of ResNet-18."""

_base_ = 'upernet_resnet18_aerial.py'

model = dict(
    backbone=dict(depth=50),
    decode_head=dict(in_channels=[256, 512, 1024, 2048]),
    auxiliary_head=dict(in_channels=1024),
)
