"""PatchConvNet-S60 with stride 8 as the column of a detector or segmentor.

XCiT-S12/8 has the taps and the stochastic depth of XCiT-S12/16. No weights of a column
of stride 8 are published: those of stride 16 fit all blocks and three convolutions of
the stem, and the rest is new.
"""

_base_ = 's60.py'

stride = 8
column = dict(arch=dict(_delete_=True, embed_dims=384, depth=60, patch_size=stride))
pyramid = dict(patch_size=stride)
del stride  # or it would become a setting
