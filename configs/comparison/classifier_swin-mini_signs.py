"""A small Swin, 48 wide with 2, 2, 4 and 2 blocks instead of ResNet-18.

A quarter of the base's learning rate; with the full rate, top-1 stays at 10 %.
"""

_base_ = 'classifier_resnet18_signs.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='SwinTransformer',
        arch=dict(embed_dims=48, depths=[2, 2, 4, 2], num_heads=[2, 4, 8, 16]),
        img_size=96,
        pad_small_map=True,  # the last map has 3 cells a side, a window 7
        drop_path_rate=0.0,
    ),
    head=dict(in_channels=384),
)
optim_wrapper = dict(optimizer=dict(lr=2.5e-4))
