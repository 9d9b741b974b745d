"""A wider and deeper column of stride 8: as many multiply-adds as with ResNet-18."""

_base_ = '../demo/mask-rcnn_patchconvnet-tiny_nuclei.py'

from mmpatchconvnet.engine.config_edits import of_type

width = 256
model = dict(
    backbone=dict(
        arch=dict(embed_dims=width, depth=14, patch_size=8), out_indices=(3, 6, 10, 13)
    )
)
of_type(_base_.model.neck, 'DeconvPyramid').update(
    in_channels=width, stem_channels=(width // 4, width // 2), patch_size=8
)
of_type(_base_.model.neck, 'FPN').in_channels = [width] * 4
del width  # or it would become a setting
