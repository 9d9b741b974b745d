"""A still wider column of stride 8: as many multiply-adds as ResNet-50."""

_base_ = 'classifier_patchconvnet-d14-w256-p8_signs.py'

width = 384
model = dict(
    backbone=dict(arch=dict(embed_dims=width, depth=15)),
    neck=dict(in_channels=width),
    head=dict(in_channels=width),
)
del width  # or it would become a setting
