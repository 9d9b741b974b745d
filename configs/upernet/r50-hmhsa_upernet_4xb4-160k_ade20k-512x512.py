"""UperNet on ADE20K with hierarchical attention in ResNet-50."""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    '../_base_/runtime.py',
    '../_base_/transcnn/resnet50-hmhsa.py',
    'mmseg::upernet/upernet_r50_4xb4-160k_ade20k-512x512.py',
]

model = dict(
    backbone=dict(plugins=_base_.pop('plugins')),
    decode_head=dict(type='mmpatchconvnet.FastUPerHead'),
)
default_hooks = _base_.pop('hooks')
