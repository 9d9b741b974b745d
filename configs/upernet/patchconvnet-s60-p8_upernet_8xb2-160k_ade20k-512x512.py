"""UperNet on ADE20K with PatchConvNet-S60 of stride 8 instead of Swin-T."""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    '../_base_/runtime.py',
    '../_base_/columns/s60-p8.py',
    'mmseg::swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.pop('column')),
    neck=_base_.pop('pyramid'),
    decode_head=dict(
        type='mmpatchconvnet.FastUPerHead', in_channels=[_base_.width] * 4
    ),
    auxiliary_head=dict(in_channels=_base_.pop('width')),
)
default_hooks = _base_.pop('hooks')
