"""Cascade Mask R-CNN on COCO with PatchConvNet-S60 instead of ConvNeXt-T.

Layer-wise decay is as in the base, but by the depth of our column: 0.7 over 6 groups,
without weight decay of 1-d parameters.
"""

_base_ = [
    '../_base_/runtime.py',
    '../_base_/columns/s60.py',
    'mmdet::convnext/cascade-mask-rcnn_convnext-t-p4-w7_fpn_4conv1fc-giou_amp-ms-crop-3x_coco.py',
]

custom_imports = dict(imports=['mmpatchconvnet'])  # of the base: mmpretrain.models
model = dict(
    backbone=dict(_delete_=True, **_base_.pop('column')),
    neck=[
        _base_.pop('pyramid'),
        dict(
            type='FPN',
            in_channels=[_base_.pop('width')] * 4,
            out_channels=256,
            num_outs=5,
        ),
    ],
)
optim_wrapper = dict(
    constructor='mmpatchconvnet.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(
        _delete_=True,
        decay_rate=0.7,
        num_groups=6,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
    ),
)
default_hooks = _base_.pop('hooks')
