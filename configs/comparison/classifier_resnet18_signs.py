"""ResNet-18 with average pooling instead of the column."""

_base_ = '../_base_/classifier_signs.py'

model = dict(
    backbone=dict(_delete_=True, type='ResNet', depth=18),
    neck=dict(_delete_=True, type='GlobalAveragePooling'),
    head=dict(in_channels=512),
)
