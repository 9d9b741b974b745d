"""A small ConvNeXt, 32 wide with 2, 2, 6 and 2 blocks, instead of ResNet-18.

It averages by itself, so it has no neck. LayerScale starts at 1, as in the column.
"""

_base_ = 'classifier_resnet18_signs.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='ConvNeXt',
        arch=dict(depths=[2, 2, 6, 2], channels=[32, 64, 128, 256]),
        layer_scale_init_value=1.0,
    ),
    neck=None,
    head=dict(in_channels=256),
)
