"""PatchConvNet-S60 of stride 8 on ImageNet-1k under the recipe of Swin-T."""

_base_ = 'patchconvnet-s60_16xb64_in1k.py'

arch = dict(_delete_=True, embed_dims=384, depth=60, patch_size=8)
model = dict(backbone=dict(arch=arch))
del arch  # or it would become a setting
