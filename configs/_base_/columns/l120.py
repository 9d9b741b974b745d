"""PatchConvNet-L120 as the column of a detector or segmentor.

Taps at 1/3, 1/2, 2/3 and all of the depth follow XCiT, the recipe that the paper's
authors point to; stochastic depth 0.15 is that of its largest model with known values,
XCiT-M24/16. The paper's own values are not published.
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
