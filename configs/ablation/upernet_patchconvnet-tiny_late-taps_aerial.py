"""Taps at the last four blocks instead of over the whole depth."""

_base_ = '../demo/upernet_patchconvnet-tiny_aerial.py'

model = dict(backbone=dict(out_indices=(8, 9, 10, 11)))
