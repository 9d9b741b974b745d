"""A wider and deeper column of stride 8: as many multiply-adds as with ResNet-18."""

_base_ = '../demo/classifier_patchconvnet-tiny_signs.py'

width = 256
model = dict(
    backbone=dict(arch=dict(embed_dims=width, depth=14)),
    neck=dict(in_channels=width),
    head=dict(in_channels=width),
)
del width  # or it would become a setting
