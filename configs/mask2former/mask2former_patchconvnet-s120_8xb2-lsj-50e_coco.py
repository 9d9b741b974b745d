"""Mask2Former on COCO with PatchConvNet-S120 instead of Swin-S."""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    '../_base_/runtime.py',
    '../_base_/columns/s120.py',
    'mmdet::mask2former/mask2former_swin-s-p4-w7-224_8xb2-lsj-50e_coco.py',
]

norm = dict(lr_mult=0.1, decay_mult=0.0)  # as for the norms of Swin
model = dict(
    backbone=dict(_delete_=True, **_base_.pop('column')),
    neck=_base_.pop('pyramid'),
    panoptic_head=dict(in_channels=[_base_.pop('width')] * 4),
)
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={f'backbone.blocks.{i}.norm': norm for i in range(120)}
    )
)
default_hooks = _base_.pop('hooks')
del norm  # or it would become a setting
