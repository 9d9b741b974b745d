"""LayerNorm in the blocks, as in all released models, where the base has BatchNorm."""

_base_ = '../demo/classifier_patchconvnet-tiny_signs.py'

_base_.model.backbone.norm_cfg = None
