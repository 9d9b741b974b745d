"""A column of 12 blocks, 128 wide, for small data and random weights.

Kaiming's initialization keeps the size of what passes the stem. The framework's
default, which the official code keeps, shrinks noise thirtyfold by stride 8, and so
short a training ends with lower scores, see `configs/ablation/*_default-init.py`.
"""

width = 128
column = dict(
    type='mmpatchconvnet.PatchConvNet',
    arch=dict(embed_dims=width, depth=12, layer_scale_init_value=1.0),
    init_cfg=dict(type='Kaiming', layer='Conv2d', mode='fan_in', nonlinearity='relu'),
)
# For detectors and segmentors: four taps, and the stem's maps of stride 4 and 8.
taps = dict(out_indices=(2, 5, 8, 11), stem_indices=(1, 2))
pyramid = dict(
    type='mmpatchconvnet.DeconvPyramid',
    in_channels=width,
    stem_channels=(width // 4, width // 2),
)
