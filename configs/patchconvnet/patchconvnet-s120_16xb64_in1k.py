"""PatchConvNet-S120 on ImageNet-1k under the recipe of Swin-S, for a fair comparison.

Stochastic depth 0.1 is the default of the official script; the paper's own recipe is in
`patchconvnet-s120_32xb64-lamb-400e_in1k.py`.
"""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    '../_base_/runtime.py',
    'mmpretrain::swin_transformer/swin-small_16xb64_in1k.py',
]

width = 384
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpatchconvnet.PatchConvNet',
        arch='s120',
        drop_path_rate=0.1,
        block_impl='lean',
    ),
    neck=dict(_delete_=True, type='mmpatchconvnet.AttentionPooling', in_channels=width),
    head=dict(in_channels=width),
)
default_hooks = _base_.pop('hooks')
del width  # or it would become a setting
