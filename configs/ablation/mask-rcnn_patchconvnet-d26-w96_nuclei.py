"""Narrower and deeper than the base at the same cost of the column."""

_base_ = '../demo/mask-rcnn_patchconvnet-tiny_nuclei.py'

from mmpatchconvnet.engine.config_edits import of_type

_base_.model.backbone.arch.update(embed_dims=96, depth=26)
_base_.model.backbone.out_indices = (8, 12, 16, 25)
of_type(_base_.model.neck, 'DeconvPyramid').update(
    in_channels=96, stem_channels=(24, 48)
)
of_type(_base_.model.neck, 'FPN').in_channels = [96] * 4
