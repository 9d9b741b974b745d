"""Semantic FPN on ADE20K with TransCNN-Small instead of ResNet-50.

Schedule and optimizer are those of TransCNN-Tiny's config.
"""

_base_ = 'fpn_transcnn-tiny_8xb4-40k_ade20k-512x512.py'

model = dict(backbone=dict(arch='small', init_cfg=dict(checkpoint='transcnn://small')))
