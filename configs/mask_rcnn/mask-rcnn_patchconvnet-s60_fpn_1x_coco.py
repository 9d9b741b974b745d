"""Mask R-CNN on COCO with PatchConvNet-S60, where the base has Swin-T.

Taps at 1/3, 1/2, 2/3 and all of the depth and stochastic depth 0.05 follow XCiT-S12/16,
the recipe that the paper's authors point to; the paper's own values are not published.
"""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
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
    neck=[
        dict(
            type='mmpatchconvnet.DeconvPyramid',
            in_channels=384,
            norm_cfg=dict(type='SyncBN'),
        ),
        dict(type='FPN', in_channels=[384] * 4, out_channels=256, num_outs=5),
    ],
)
