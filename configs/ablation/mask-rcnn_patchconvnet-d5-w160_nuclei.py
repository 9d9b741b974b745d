"""Wider and shallower than the base at the same cost of the column."""

_base_ = '../demo/mask-rcnn_patchconvnet-tiny_nuclei.py'

from mmpatchconvnet.engine.config_edits import of_type

_base_.model.backbone.arch.update(embed_dims=160, depth=5)
_base_.model.backbone.out_indices = (1, 2, 3, 4)
of_type(_base_.model.neck, 'DeconvPyramid').update(
    in_channels=160, stem_channels=(40, 80)
)
of_type(_base_.model.neck, 'FPN').in_channels = [160] * 4
