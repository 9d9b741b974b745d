"""ViT-S/16 of mmpretrain as the column: the pyramids work with any stride-16 map.

Weights of DeiT-S; stochastic depth 0.05 as for S60.
"""

width = 384
column = dict(
    type='mmpretrain.VisionTransformer',
    arch='deit-small',
    out_type='featmap',
    out_indices=(3, 5, 7, 11),
    drop_path_rate=0.05,
    init_cfg=dict(
        type='Pretrained',
        checkpoint='https://mmassets.onedl.ai/mmclassification/v0/deit/'
        'deit-small_pt-4xb256_in1k_20220218-9425b9bb.pth',
        prefix='backbone.',
    ),
)
pyramid = dict(
    type='mmpatchconvnet.DeconvPyramid',
    in_channels=width,
    norm_cfg=dict(type='SyncBN'),
)
