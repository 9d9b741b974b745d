"""Convolutions start as the framework has them, where the base has Kaiming's."""

_base_ = '../demo/mask-rcnn_patchconvnet-tiny_nuclei.py'

model = dict(backbone=dict(init_cfg=None))
