"""ResNet-18, with the stem of mmseg's UperNet, instead of the column."""

_base_ = '../demo/upernet_patchconvnet-tiny_aerial.py'

model = dict(
    backbone=dict(_delete_=True, type='ResNetV1c', depth=18, norm_cfg=dict(type='BN')),
    neck=None,
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256),
)
