"""Hierarchical attention in the blocks of the third and fourth stage of ResNet-50.

It stands behind the 3 x 3 convolution, where a block is narrow: behind the last one it
would have 16 times the parameters. Windows and squares are those of HAT-Net's stages.
"""

plugins = [
    dict(
        cfg=dict(type='mmpatchconvnet.HMHSA', head_dims=64, grid_size=7, pool_ratio=2),
        stages=(False, False, True, False),
        position='after_conv2',
    ),
    dict(
        cfg=dict(type='mmpatchconvnet.HMHSA', head_dims=64, grid_size=1, pool_ratio=1),
        stages=(False, False, False, True),
        position='after_conv2',
    ),
]
