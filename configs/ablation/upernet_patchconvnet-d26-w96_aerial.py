"""Narrower and deeper than the base at the same cost of the column."""

_base_ = '../demo/upernet_patchconvnet-tiny_aerial.py'

_base_.model.backbone.arch.update(embed_dims=96, depth=26)
_base_.model.backbone.out_indices = (8, 12, 16, 25)
model = dict(
    neck=dict(in_channels=96, stem_channels=(24, 48)),
    decode_head=dict(in_channels=[96] * 4),
    auxiliary_head=dict(in_channels=96),
)
