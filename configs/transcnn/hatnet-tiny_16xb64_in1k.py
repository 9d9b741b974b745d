"""HAT-Net-Tiny on ImageNet-1k under the recipe of Swin-T, for a fair comparison.

Stochastic depth 0.1 is that of PVT, whose settings the authors follow.
"""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    '../_base_/runtime.py',
    'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpatchconvnet.TransCNN',
        arch='hat_tiny',
        drop_path_rate=0.1,
    ),
    head=dict(in_channels=384),
)
default_hooks = _base_.pop('hooks')
