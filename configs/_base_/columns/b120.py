"""PatchConvNet-B120 as the column of a detector or segmentor.

Taps at 1/3, 1/2, 2/3 and all of the depth follow XCiT, the recipe that the paper's
authors point to; stochastic depth 0.15 is that of its largest model with known values,
XCiT-M24/16. The paper's own values are not published.
Which weights they started from is not known either: these are trained on ImageNet-1k.
"""

width = 768
column = dict(
    type='mmpatchconvnet.PatchConvNet',
    arch='b120',
    out_indices=(39, 59, 79, 119),
    drop_path_rate=0.15,
    block_impl='lean',
    init_cfg=dict(
        type='Pretrained', checkpoint='deit://b120_224_1k', prefix='backbone.'
    ),
)
pyramid = dict(
    type='mmpatchconvnet.DeconvPyramid',
    in_channels=width,
    norm_cfg=dict(type='SyncBN'),
)
