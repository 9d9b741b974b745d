"""One token for all classes instead of one for each."""

_base_ = '../demo/multi-label_patchconvnet-tiny_scenes.py'

model = dict(
    neck=dict(num_tokens=1), head=dict(type='mmpretrain.MultiLabelLinearClsHead')
)
