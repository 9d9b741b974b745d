"""UperNet on ADE20K with PatchConvNet-B120 from ImageNet-21k.

The weights were fine-tuned on ImageNet-1k afterwards; no others are released. The paper
does not say from which weights its segmentors started.
"""

_base_ = 'patchconvnet-b120_upernet_8xb2-160k_ade20k-512x512.py'

model = dict(backbone=dict(init_cfg=dict(checkpoint='deit://b120_224_21k')))
