"""PatchConvNet-S60 as the column of a detector or segmentor.

Taps at 1/3, 1/2, 2/3 and all of the depth, and stochastic depth 0.05, follow
XCiT-S12/16, to which the paper's authors refer. The paper publishes neither its own
values nor the weights it started from; these weights are trained on ImageNet-1k.
"""

width = 384
column = dict(
    type='mmpatchconvnet.PatchConvNet',
    arch='s60',
    out_indices=(19, 29, 39, 59),
    drop_path_rate=0.05,
    block_impl='lean',
    init_cfg=dict(
        type='Pretrained', checkpoint='deit://s60_224_1k', prefix='backbone.'
    ),
)
pyramid = dict(
    type='mmpatchconvnet.DeconvPyramid',
    in_channels=width,
    norm_cfg=dict(type='SyncBN'),
)
