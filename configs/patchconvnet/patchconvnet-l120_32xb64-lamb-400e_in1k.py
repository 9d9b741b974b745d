"""PatchConvNet-L120 under the recipe of S60.

Stochastic depth 0.15 follows XCiT-M24, the largest with known values.
The authors have released no weights of it.
"""

_base_ = 'patchconvnet-s60_32xb64-lamb-400e_in1k.py'

model = dict(
    backbone=dict(arch='l120', drop_path_rate=0.15),
    neck=dict(in_channels=1024),
    head=dict(in_channels=1024),
)
