"""PatchConvNet-B120 under the recipe of S60.

Stochastic depth 0.15 follows XCiT-M24, the largest with known values.
"""

_base_ = 'patchconvnet-s60_32xb64-lamb-400e_in1k.py'

model = dict(
    backbone=dict(arch='b120', drop_path_rate=0.15),
    neck=dict(in_channels=768),
    head=dict(in_channels=768),
)
