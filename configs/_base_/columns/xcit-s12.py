"""XCiT-S12/16 of mmpretrain as the column, with the taps of its authors.

The authors' dense backbone drops the class attention. mmpretrain's keeps it without a
gradient, so several processes need `find_unused_parameters`.
"""

width = 384
column = dict(
    type='mmpretrain.XCiT',
    patch_size=16,
    embed_dims=width,
    depth=12,
    num_heads=8,
    mlp_ratio=4,
    layer_scale_init_value=1.0,
    out_type='featmap',
    out_indices=(3, 5, 7, 11),
    drop_path_rate=0.05,
    init_cfg=dict(
        type='Pretrained',
        checkpoint='https://mmassets.onedl.ai/mmclassification/v0/xcit/'
        'xcit-small-12-p16_3rdparty-dist_in1k-384px_20230213-ba36c982.pth',
        prefix='backbone.',
    ),
)
pyramid = dict(
    type='mmpatchconvnet.DeconvPyramid',
    in_channels=width,
    norm_cfg=dict(type='SyncBN'),
)
find_unused_parameters = True
