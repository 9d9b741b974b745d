"""ConvNeXt-T on ImageNet-1k with attention pooling instead of average pooling."""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    '../_base_/runtime.py',
    'mmpretrain::convnext/convnext-tiny_32xb128_in1k.py',
]

model = dict(
    backbone=dict(gap_before_final_norm=False),
    neck=dict(type='mmpatchconvnet.AttentionPooling', in_channels=768),
)
default_hooks = _base_.pop('hooks')
