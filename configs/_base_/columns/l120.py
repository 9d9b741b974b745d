"""PatchConvNet-L120 as the column of a detector or segmentor.

Taps at 1/3, 1/2, 2/3 and all of the depth follow XCiT, to which the paper's authors
refer. Stochastic depth 0.15 is the value of XCiT-M24/16, its largest model with known
values. The paper's own values are not published.
No weights of it have been released.
"""

width = 1024
column = dict(
    type='mmpatchconvnet.PatchConvNet',
    arch='l120',
    out_indices=(39, 59, 79, 119),
    drop_path_rate=0.15,
    block_impl='lean',
)
pyramid = dict(
    type='mmpatchconvnet.DeconvPyramid',
    in_channels=width,
    norm_cfg=dict(type='SyncBN'),
)
