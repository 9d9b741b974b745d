"""SegFormer's head on ADE20K with PatchConvNet-S60 instead of MiT-B2."""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    '../_base_/runtime.py',
    '../_base_/columns/s60.py',
    'mmseg::segformer/segformer_mit-b2_8xb2-160k_ade20k-512x512.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.pop('column')),
    neck=_base_.pop('pyramid'),
    decode_head=dict(in_channels=[_base_.pop('width')] * 4),
)
default_hooks = _base_.pop('hooks')
