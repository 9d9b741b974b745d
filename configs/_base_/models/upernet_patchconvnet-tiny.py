"""A small UperNet for two CPU cores: a column of 12 blocks, 128 wide; heads of 64."""

_base_ = ['../mmpatchconvnet.py', 'mmseg::_base_/models/upernet_r50.py']

width, head_width = 128, 64
norm_cfg = dict(type='BN')
model = dict(
    pretrained=None,
    data_preprocessor=dict(size_divisor=32, test_cfg=dict(size_divisor=32)),
    backbone=dict(
        _delete_=True,
        type='mmpatchconvnet.PatchConvNet',
        arch=dict(embed_dims=width, depth=12, layer_scale_init_value=1.0),
        out_indices=(2, 5, 8, 11),
        stem_indices=(1, 2),
    ),
    neck=dict(
        type='mmpatchconvnet.DeconvPyramid',
        in_channels=width,
        stem_channels=(width // 4, width // 2),
    ),
    decode_head=dict(in_channels=[width] * 4, channels=head_width, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=width, channels=head_width, norm_cfg=norm_cfg),
)
