"""PatchConvNet-S120 under the recipe of S60.

Stochastic depth 0.1 follows XCiT-S24.
"""

_base_ = 'patchconvnet-s60_32xb64-lamb-400e_in1k.py'

model = dict(backbone=dict(arch='s120', drop_path_rate=0.1))
