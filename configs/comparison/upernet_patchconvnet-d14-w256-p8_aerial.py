"""A wider and deeper column of stride 8: as many multiply-adds as with ResNet-18."""

_base_ = '../demo/upernet_patchconvnet-tiny_aerial.py'

width = 256
model = dict(
    backbone=dict(
        arch=dict(embed_dims=width, depth=14, patch_size=8), out_indices=(3, 6, 10, 13)
    ),
    neck=dict(in_channels=width, stem_channels=(width // 4, width // 2), patch_size=8),
    decode_head=dict(in_channels=[width] * 4),
    auxiliary_head=dict(in_channels=width),
)
del width  # or it would become a setting
