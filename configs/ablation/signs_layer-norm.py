"""LayerNorm in the blocks, as in all released models, where the base has BatchNorm."""

_base_ = '../demo/classifier_patchconvnet-tiny_signs.py'

model = dict(backbone=dict(norm_cfg=None))
