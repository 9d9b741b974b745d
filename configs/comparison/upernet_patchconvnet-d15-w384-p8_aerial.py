"""A still wider column of stride 8: as many multiply-adds as with ResNet-50."""

_base_ = 'upernet_patchconvnet-d14-w256-p8_aerial.py'

width = 384
model = dict(
    backbone=dict(arch=dict(embed_dims=width, depth=15), out_indices=(3, 7, 10, 14)),
    neck=dict(in_channels=width, stem_channels=(width // 4, width // 2)),
    decode_head=dict(in_channels=[width] * 4),
    auxiliary_head=dict(in_channels=width),
)
del width  # or it would become a setting
