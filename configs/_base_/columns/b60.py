"""PatchConvNet-B60 as the column of a detector or segmentor.

Taps at 1/3, 1/2, 2/3 and all of the depth, and stochastic depth 0.15, follow
XCiT-M24/16, to which the paper's authors refer. The paper publishes neither its own
values nor the weights it started from; these weights are trained on ImageNet-1k.
"""

width = 768
column = dict(
    type='mmpatchconvnet.PatchConvNet',
    arch='b60',
    out_indices=(19, 29, 39, 59),
    drop_path_rate=0.15,
    block_impl='lean',
    init_cfg=dict(
        type='Pretrained', checkpoint='deit://b60_224_1k', prefix='backbone.'
    ),
)
pyramid = dict(
    type='mmpatchconvnet.DeconvPyramid',
    in_channels=width,
    norm_cfg=dict(type='SyncBN'),
)
