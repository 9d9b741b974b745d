"""Mask R-CNN on COCO with PatchConvNet-S60 of stride 8 instead of Swin-T.

XCiT-S12/8 has the taps and the stochastic depth of XCiT-S12/16. No weights of a column
of stride 8 are published: those of stride 16 fit all blocks and three convolutions of
the stem, and the rest is new.
"""

_base_ = 'mask-rcnn_patchconvnet-s60_fpn_1x_coco.py'
from mmpatchconvnet.engine.config_edits import of_type

arch = dict(_delete_=True, embed_dims=384, depth=60, patch_size=8)
model = dict(backbone=dict(arch=arch))
of_type(_base_.model.neck, 'DeconvPyramid').patch_size = 8
del arch  # or it would become a setting
