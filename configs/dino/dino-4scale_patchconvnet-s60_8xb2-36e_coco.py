"""DINO on COCO for 36 epochs with PatchConvNet-S60 instead of ResNet-50.

Its maps start at stride 8.
"""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    '../_base_/runtime.py',
    '../_base_/columns/s60.py',
    'mmdet::dino/dino-4scale_r50_8xb2-36e_coco.py',
]

_base_.column.out_indices = (29, 39, 59)
_base_.pyramid.scales = (2, 1, 0.5)
model = dict(
    backbone=dict(_delete_=True, **_base_.pop('column')),
    neck=[
        _base_.pop('pyramid'),
        dict(_base_.model.neck, in_channels=[_base_.pop('width')] * 3),
    ],
)
default_hooks = _base_.pop('hooks')
