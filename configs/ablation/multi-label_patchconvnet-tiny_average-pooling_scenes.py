"""Average pooling instead of attention."""

_base_ = 'multi-label_patchconvnet-tiny_one-token_scenes.py'

model = dict(neck=dict(_delete_=True, type='GlobalAveragePooling'))
