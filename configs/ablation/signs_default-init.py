"""Convolutions start as the framework has them, where the base has Kaiming's."""

_base_ = '../demo/classifier_patchconvnet-tiny_signs.py'

model = dict(backbone=dict(init_cfg=None))
