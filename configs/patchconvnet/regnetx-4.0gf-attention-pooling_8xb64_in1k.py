"""RegNetX-4.0GF on ImageNet-1k with attention pooling instead of average pooling."""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    '../_base_/runtime.py',
    'mmpretrain::regnet/regnetx-4.0gf_8xb64_in1k.py',
]

model = dict(
    neck=dict(_delete_=True, type='mmpatchconvnet.AttentionPooling', in_channels=1360)
)
default_hooks = _base_.pop('hooks')
