"""A small Mask R-CNN for two CPU cores: a column of 12 blocks, 128 wide.

The stem's maps of strides 4 and 8 are added to the pyramid, as small objects need them.
"""

_base_ = [
    '../mmpatchconvnet.py',
    '../columns/tiny.py',
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
]

head_width = 64
norm_cfg = dict(type='GN', num_groups=8)
model = dict(
    backbone=dict(_delete_=True, **_base_.pop('column'), **_base_.pop('taps')),
    neck=[
        _base_.pop('pyramid'),
        dict(
            type='FPN',
            in_channels=[_base_.pop('width')] * 4,
            out_channels=head_width,
            num_outs=5,
            norm_cfg=norm_cfg,
        ),
    ],
    rpn_head=dict(
        in_channels=head_width,
        feat_channels=head_width,
        anchor_generator=dict(scales=[4]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=head_width),
        bbox_head=dict(in_channels=head_width, fc_out_channels=256),
        mask_roi_extractor=dict(out_channels=head_width),
        mask_head=dict(in_channels=head_width, conv_out_channels=head_width),
    ),
    train_cfg=dict(rcnn=dict(sampler=dict(num=128))),
    test_cfg=dict(rcnn=dict(max_per_img=300)),
)
del head_width, norm_cfg  # or they would become settings
