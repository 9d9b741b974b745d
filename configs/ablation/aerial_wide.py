"""Wider and shallower than the base at the same cost of the column."""

_base_ = '../demo/upernet_patchconvnet-tiny_aerial.py'

_base_.model.backbone.arch.embed_dims = 160
_base_.model.backbone.arch.depth = 5
_base_.model.backbone.out_indices = (1, 2, 3, 4)
_base_.model.neck.in_channels = 160
_base_.model.neck.stem_channels = (40, 80)
model = dict(
    decode_head=dict(in_channels=[160] * 4), auxiliary_head=dict(in_channels=160)
)
