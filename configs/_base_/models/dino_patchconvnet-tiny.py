"""A small DINO for two CPU cores: a column of 12 blocks, a transformer 64 wide.

The stem's map of stride 8 is added to the pyramid, as small objects need it.
"""

_base_ = [
    '../mmpatchconvnet.py',
    '../columns/tiny.py',
    'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
]
from mmpatchconvnet.engine.config_edits import keep

keep(_base_, 'custom_imports', 'column', 'taps', 'pyramid', 'width', 'model')
_base_.taps.update(out_indices=(5, 8, 11), stem_indices=(2,))
_base_.pyramid.update(scales=(2, 1, 0.5), stem_channels=(_base_.width // 2,))
head_width, num_heads = 64, 4
attention = dict(embed_dims=head_width, num_heads=num_heads)
ffn = dict(embed_dims=head_width, feedforward_channels=4 * head_width)
model = dict(
    num_queries=200,
    data_preprocessor=dict(pad_size_divisor=32),
    backbone=dict(_delete_=True, **_base_.pop('column'), **_base_.pop('taps')),
    neck=[
        _base_.pop('pyramid'),
        dict(
            _base_.model.neck,
            in_channels=[_base_.pop('width')] * 3,
            out_channels=head_width,
            norm_cfg=dict(type='GN', num_groups=8),
        ),
    ],
    encoder=dict(num_layers=2, layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn)),
    decoder=dict(
        num_layers=3,
        layer_cfg=dict(self_attn_cfg=attention, cross_attn_cfg=attention, ffn_cfg=ffn),
    ),
    positional_encoding=dict(num_feats=head_width // 2),
    bbox_head=dict(embed_dims=head_width),
    test_cfg=dict(max_per_img=200),
)
del attention, ffn, head_width, num_heads  # or they would become settings
