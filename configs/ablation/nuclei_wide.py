"""Wider and shallower than the base at the same cost of the column."""

_base_ = '../demo/mask-rcnn_patchconvnet-tiny_nuclei.py'

_base_.model.backbone.arch.embed_dims = 160
_base_.model.backbone.arch.depth = 5
_base_.model.backbone.out_indices = (1, 2, 3, 4)
_base_.model.neck[0].in_channels = 160
_base_.model.neck[0].stem_channels = (40, 80)
_base_.model.neck[1].in_channels = [160] * 4
