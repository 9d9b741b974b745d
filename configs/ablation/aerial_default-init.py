"""Convolutions start as the framework has them, where the base has Kaiming's."""

_base_ = '../demo/upernet_patchconvnet-tiny_aerial.py'

model = dict(backbone=dict(init_cfg=None))
