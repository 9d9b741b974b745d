"""ResNet-50 on ImageNet-1k with attention pooling instead of average pooling."""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    '../_base_/runtime.py',
    'mmpretrain::resnet/resnet50_8xb32_in1k.py',
]

model = dict(
    neck=dict(_delete_=True, type='mmpatchconvnet.AttentionPooling', in_channels=2048)
)
default_hooks = _base_.pop('hooks')
