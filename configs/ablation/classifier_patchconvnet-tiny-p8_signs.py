"""A column of stride 8 instead of 16: four times the cells and the work."""

_base_ = 'classifier_patchconvnet-tiny-p16_signs.py'

model = dict(backbone=dict(arch=dict(patch_size=8)))
