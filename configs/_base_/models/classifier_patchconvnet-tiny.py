"""A small classifier for two CPU cores: a column of 12 blocks, 128 wide."""

_base_ = [
    '../mmpatchconvnet.py',
    '../columns/tiny.py',
    'mmpretrain::_base_/models/resnet50.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.pop('column')),
    neck=dict(
        _delete_=True,
        type='mmpatchconvnet.AttentionPooling',
        in_channels=_base_.width,
        layer_scale_init_value=1.0,
    ),
    head=dict(in_channels=_base_.pop('width'), topk=(1,)),
)
del _base_.taps, _base_.pyramid  # or they would become settings
