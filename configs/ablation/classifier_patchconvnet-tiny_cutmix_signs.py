"""CutMix on every batch: boxes of other pictures, labels by area."""

_base_ = 'classifier_patchconvnet-tiny-p16_signs.py'

model = dict(train_cfg=dict(augments=[dict(type='mmpretrain.CutMix', alpha=1.0)]))
