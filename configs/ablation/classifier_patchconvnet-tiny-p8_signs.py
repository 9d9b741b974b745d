"""A column of stride 8 instead of 16: four times the cells and the work."""

_base_ = '../demo/classifier_patchconvnet-tiny_signs.py'

model = dict(backbone=dict(arch=dict(patch_size=8)))
