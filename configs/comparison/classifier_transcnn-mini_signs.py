"""A small HAT-Net, 32 wide with 2, 2, 4 and 2 blocks, instead of ResNet-18."""

_base_ = ['../_base_/transcnn/mini.py', 'classifier_resnet18_signs.py']

model = dict(
    backbone=dict(_delete_=True, **_base_.pop('backbone')),
    head=dict(in_channels=256),
)
del _base_.widths  # or it would become a setting
