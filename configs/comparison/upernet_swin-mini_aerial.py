"""A small Swin, 48 wide with 2, 2, 4 and 2 blocks instead of ResNet-18."""

_base_ = 'upernet_resnet18_aerial.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='SwinTransformer',
        embed_dims=48,
        depths=(2, 2, 4, 2),
        num_heads=(2, 4, 8, 16),
        drop_path_rate=0.0,
    ),
    decode_head=dict(in_channels=[48, 96, 192, 384]),
    auxiliary_head=dict(in_channels=192),
)
