"""Average pooling instead of attention."""

_base_ = 'classifier_patchconvnet-tiny-p16_signs.py'

model = dict(neck=dict(_delete_=True, type='GlobalAveragePooling'))
