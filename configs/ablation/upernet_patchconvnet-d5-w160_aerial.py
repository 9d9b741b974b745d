"""Wider and shallower than the base at the same cost of the column."""

_base_ = '../demo/upernet_patchconvnet-tiny_aerial.py'

_base_.model.backbone.arch.update(embed_dims=160, depth=5)
_base_.model.backbone.out_indices = (1, 2, 3, 4)
model = dict(
    neck=dict(in_channels=160, stem_channels=(40, 80)),
    decode_head=dict(in_channels=[160] * 4),
    auxiliary_head=dict(in_channels=160),
)
