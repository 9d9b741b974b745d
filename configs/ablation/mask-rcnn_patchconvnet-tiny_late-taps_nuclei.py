"""Taps at the last four blocks instead of over the whole depth."""

_base_ = '../demo/mask-rcnn_patchconvnet-tiny_nuclei.py'

model = dict(backbone=dict(out_indices=(8, 9, 10, 11)))
