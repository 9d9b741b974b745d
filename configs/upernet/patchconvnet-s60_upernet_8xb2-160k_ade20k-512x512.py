"""UperNet on ADE20K with PatchConvNet-S60, where the base has Swin-T.

Taps at 1/3, 1/2, 2/3 and all of the depth and stochastic depth 0.05 follow XCiT-S12/16,
the recipe that the paper's authors point to; the paper's own values are not published.
"""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    'mmseg::swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpatchconvnet.PatchConvNet',
        arch='s60',
        out_indices=(19, 29, 39, 59),
        drop_path_rate=0.05,
        init_cfg=dict(
            type='Pretrained', checkpoint='deit://s60_224_1k', prefix='backbone.'
        ),
    ),
    neck=dict(
        type='mmpatchconvnet.DeconvPyramid',
        in_channels=384,
        norm_cfg=dict(type='SyncBN'),
    ),
    decode_head=dict(in_channels=[384] * 4),
    auxiliary_head=dict(in_channels=384),
)
