"""A small classifier for two CPU cores: a column of 12 blocks, 128 wide."""

_base_ = ['../mmpatchconvnet.py', 'mmpretrain::_base_/models/resnet50.py']

width = 128
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpatchconvnet.PatchConvNet',
        arch=dict(embed_dims=width, depth=12, layer_scale_init_value=1.0),
    ),
    neck=dict(
        _delete_=True,
        type='mmpatchconvnet.AttentionPooling',
        in_channels=width,
        layer_scale_init_value=1.0,
    ),
    head=dict(in_channels=width, topk=(1,)),
)
