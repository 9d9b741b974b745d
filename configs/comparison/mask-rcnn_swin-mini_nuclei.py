"""A small Swin, 48 wide with 2, 2, 4 and 2 blocks instead of ResNet-18."""

_base_ = 'mask-rcnn_resnet18_nuclei.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='SwinTransformer',
        embed_dims=48,
        depths=(2, 2, 4, 2),
        num_heads=(2, 4, 8, 16),
        drop_path_rate=0.0,
    ),
    neck=dict(in_channels=[48, 96, 192, 384]),
)
