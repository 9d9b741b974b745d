"""A small HAT-Net, 32 wide with 2, 2, 4 and 2 blocks, instead of ResNet-18."""

_base_ = ['../_base_/transcnn/mini.py', 'upernet_resnet18_aerial.py']

model = dict(
    backbone=dict(_delete_=True, out_indices=(0, 1, 2, 3), **_base_.pop('backbone')),
    decode_head=dict(in_channels=_base_.pop('widths')),
    auxiliary_head=dict(in_channels=128),
)
