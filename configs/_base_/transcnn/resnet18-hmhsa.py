"""Hierarchical attention behind the third and fourth stage of ResNet-18."""

plugins = dict(
    layer3=dict(
        type='mmpatchconvnet.HMHSA', in_channels=256, grid_size=7, pool_ratio=2
    ),
    layer4=dict(
        type='mmpatchconvnet.HMHSA', in_channels=512, grid_size=1, pool_ratio=1
    ),
)
