"""A small UperNet for two CPU cores: a column of 12 blocks, 128 wide; heads of 64."""

_base_ = [
    '../mmpatchconvnet.py',
    '../columns/tiny.py',
    'mmseg::_base_/models/upernet_r50.py',
]

head_width = 64
norm_cfg = dict(type='BN')
model = dict(
    pretrained=None,
    data_preprocessor=dict(size_divisor=32, test_cfg=dict(size_divisor=32)),
    backbone=dict(_delete_=True, **_base_.pop('column'), **_base_.pop('taps')),
    neck=_base_.pop('pyramid'),
    decode_head=dict(
        in_channels=[_base_.width] * 4, channels=head_width, norm_cfg=norm_cfg
    ),
    auxiliary_head=dict(
        in_channels=_base_.pop('width'), channels=head_width, norm_cfg=norm_cfg
    ),
)
del head_width  # or it would become a setting
