"""Narrower and deeper than the base at the same cost of the column."""

_base_ = '../demo/mask-rcnn_patchconvnet-tiny_nuclei.py'

_base_.model.backbone.arch.embed_dims = 96
_base_.model.backbone.arch.depth = 26
_base_.model.backbone.out_indices = (8, 12, 16, 25)
_base_.model.neck[0].in_channels = 96
_base_.model.neck[0].stem_channels = (24, 48)
_base_.model.neck[1].in_channels = [96] * 4
