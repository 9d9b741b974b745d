"""PatchConvNet-B120 as the column of a detector or segmentor.

Taps at 1/3, 1/2, 2/3 and all of the depth follow XCiT, to which the paper's authors
refer. Stochastic depth 0.15 is the value of XCiT-M24/16, its largest model with known
values. The paper publishes neither its own values nor the weights it started from;
these weights are trained on ImageNet-1k.
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
