"""Mask2Former on ADE20K with PatchConvNet-S60 instead of Swin-T."""

_base_ = [
    '../_base_/import_first.py',
    '../_base_/runtime.py',
    '../_base_/columns/s60.py',
    'mmseg::mask2former/mask2former_swin-t_8xb2-160k_ade20k-512x512.py',
]

custom_imports = dict(imports=['mmpatchconvnet', 'mmdet.models'])
norm = dict(lr_mult=0.1, decay_mult=0.0)  # as for the norms of Swin
model = dict(
    backbone=dict(_delete_=True, **_base_.pop('column')),
    neck=_base_.pop('pyramid'),
    decode_head=dict(in_channels=[_base_.pop('width')] * 4),
)
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={f'backbone.blocks.{i}.norm': norm for i in range(60)}
    )
)
default_hooks = _base_.pop('hooks')
del norm  # or it would become a setting
