"""ResNet-18 instead of the column."""

_base_ = '../demo/mask-rcnn_patchconvnet-tiny_nuclei.py'

model = dict(
    backbone=dict(_delete_=True, type='ResNet', depth=18, norm_eval=False),
    neck=dict(
        _delete_=True,
        type='FPN',
        in_channels=[64, 128, 256, 512],
        out_channels=64,
        num_outs=5,
        norm_cfg=dict(type='GN', num_groups=8),
    ),
)
