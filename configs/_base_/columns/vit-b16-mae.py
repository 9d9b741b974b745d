"""ViT-B/16 of mmpretrain with MAE's weights as the column, and ViTDet's pyramid.

All levels come from the last map, 256 wide. As in ViTDet the column has no norm behind
its last block, stochastic depth is 0.1, and layer-wise decay 0.7 over the 12 blocks.
Attention is global in all blocks; ViTDet has windows in 8 of 12.
"""

width = 256
column = dict(
    type='mmpretrain.VisionTransformer',
    arch='base',
    out_type='featmap',
    out_indices=(11,),
    final_norm=False,
    drop_path_rate=0.1,
    init_cfg=dict(
        type='Pretrained',
        checkpoint='https://mmassets.onedl.ai/mmselfsup/1.x/mae/'
        'mae_vit-base-p16_8xb512-fp16-coslr-1600e_in1k/'
        'mae_vit-base-p16_8xb512-fp16-coslr-1600e_in1k_20220825-f7569ca2.pth',
        prefix='backbone.',
    ),
)
pyramid = dict(type='mmpatchconvnet.SimplePyramid', in_channels=768, out_channels=width)
layer_decay = dict(
    decay_rate=0.7,
    num_groups=12,
    norm_decay_mult=0.0,
    bias_decay_mult=0.0,
    flat_decay_mult=0.0,
    custom_keys=dict(cls_token=dict(decay_mult=0.0), pos_embed=dict(decay_mult=0.0)),
)
