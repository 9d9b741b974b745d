"""PatchConvNet-S60 on ImageNet-1k under the recipe of Swin-T, for a fair comparison.

The paper's own recipe differs (LAMB, 400 epochs, batch 2048); its stochastic depth is
not published in the code, 0.1 is the default of the official script.
"""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpatchconvnet.PatchConvNet',
        arch='s60',
        drop_path_rate=0.1,
    ),
    neck=dict(_delete_=True, type='mmpatchconvnet.AttentionPooling', in_channels=384),
    head=dict(in_channels=384),
)
