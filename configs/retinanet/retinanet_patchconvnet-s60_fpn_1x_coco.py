"""RetinaNet on COCO with PatchConvNet-S60 instead of Swin-T.

Its pyramid starts at stride 8. It uses AdamW as Mask R-CNN does; the base has SGD.
"""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    '../_base_/runtime.py',
    '../_base_/columns/s60.py',
    'mmdet::swin/retinanet_swin-t-p4-w7_fpn_1x_coco.py',
]

_base_.column.out_indices = (29, 39, 59)
_base_.pyramid.scales = (2, 1, 0.5)
model = dict(
    backbone=dict(_delete_=True, **_base_.pop('column')),
    neck=[
        _base_.pop('pyramid'),
        dict(
            type='FPN',
            in_channels=[_base_.pop('width')] * 3,
            out_channels=256,
            add_extra_convs='on_input',
            num_outs=5,
        ),
    ],
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(custom_keys=dict(norm=dict(decay_mult=0.0))),
)
default_hooks = _base_.pop('hooks')
