"""A still wider column of stride 8: as many multiply-adds as with ResNet-50."""

_base_ = 'mask-rcnn_patchconvnet-d14-w256-p8_nuclei.py'

from mmpatchconvnet.engine.config_edits import of_type

width = 384
model = dict(
    backbone=dict(arch=dict(embed_dims=width, depth=15), out_indices=(3, 7, 10, 14))
)
of_type(_base_.model.neck, 'DeconvPyramid').update(
    in_channels=width, stem_channels=(width // 4, width // 2)
)
of_type(_base_.model.neck, 'FPN').in_channels = [width] * 4
del width  # or it would become a setting
