"""TransCNN-Large on ImageNet-1k under the recipe of Swin-B, for a fair comparison.

Stochastic depth 0.3 is that of PVT, whose settings the authors follow.
"""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    '../_base_/runtime.py',
    'mmpretrain::swin_transformer/swin-base_16xb64_in1k.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpatchconvnet.TransCNN',
        arch='large',
        drop_path_rate=0.3,
    ),
    head=dict(in_channels=768),
)
default_hooks = _base_.pop('hooks')
