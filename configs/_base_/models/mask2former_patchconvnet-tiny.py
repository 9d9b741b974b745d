"""A small Mask2Former for two CPU cores: a column of 12 blocks, and a head 64 wide.

The stem's maps of strides 4 and 8 are added to the pyramid, as small objects need them.
"""

_base_ = [
    '../mmpatchconvnet.py',
    '../columns/tiny.py',
    'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
]
from mmpatchconvnet.engine.config_edits import keep

keep(_base_, 'custom_imports', 'column', 'taps', 'pyramid', 'width', 'model')
head_width, num_heads = 64, 4
attention = dict(embed_dims=head_width, num_heads=num_heads)
ffn = dict(embed_dims=head_width, feedforward_channels=4 * head_width)
positions = dict(num_feats=head_width // 2)
model = dict(
    data_preprocessor=dict(batch_augments=None),
    backbone=dict(_delete_=True, **_base_.pop('column'), **_base_.pop('taps')),
    neck=_base_.pop('pyramid'),
    panoptic_head=dict(
        in_channels=[_base_.pop('width')] * 4,
        feat_channels=head_width,
        out_channels=head_width,
        num_queries=200,
        pixel_decoder=dict(
            norm_cfg=dict(num_groups=8),
            encoder=dict(
                num_layers=2, layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn)
            ),
            positional_encoding=positions,
        ),
        positional_encoding=positions,
        transformer_decoder=dict(
            num_layers=3,
            layer_cfg=dict(
                self_attn_cfg=attention, cross_attn_cfg=attention, ffn_cfg=ffn
            ),
        ),
    ),
    train_cfg=dict(num_points=56 * 56),  # the mask of a crop of 224 x 224
    test_cfg=dict(max_per_image=200),
)
del attention, ffn, head_width, num_heads, positions  # or they would become settings
