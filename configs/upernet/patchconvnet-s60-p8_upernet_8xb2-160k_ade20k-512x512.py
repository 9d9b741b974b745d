"""UperNet on ADE20K with PatchConvNet-S60 of stride 8 instead of Swin-T.

Taps, stochastic depth and weights: see
`../mask_rcnn/mask-rcnn_patchconvnet-s60-p8_fpn_1x_coco.py`.
"""

_base_ = 'patchconvnet-s60_upernet_8xb2-160k_ade20k-512x512.py'

arch = dict(_delete_=True, embed_dims=384, depth=60, patch_size=8)
model = dict(backbone=dict(arch=arch), neck=dict(patch_size=8))
del arch  # or it would become a setting
