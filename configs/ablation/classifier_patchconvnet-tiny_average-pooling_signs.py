"""Average pooling instead of attention."""

_base_ = '../demo/classifier_patchconvnet-tiny_signs.py'

model = dict(neck=dict(_delete_=True, type='GlobalAveragePooling'))
