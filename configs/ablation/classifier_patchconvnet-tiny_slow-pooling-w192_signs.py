"""Slow pooling behind a column of 192 channels instead of 128."""

_base_ = 'classifier_patchconvnet-tiny_slow-pooling_signs.py'

width = 192
model = dict(
    backbone=dict(arch=dict(embed_dims=width)),
    neck=dict(in_channels=width),
    head=dict(in_channels=width),
)
del width  # or it would become a setting
