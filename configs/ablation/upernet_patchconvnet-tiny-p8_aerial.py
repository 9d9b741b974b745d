"""A column of stride 8 instead of 16: four times the cells and the work."""

_base_ = '../demo/upernet_patchconvnet-tiny_aerial.py'

model = dict(backbone=dict(arch=dict(patch_size=8)), neck=dict(patch_size=8))
