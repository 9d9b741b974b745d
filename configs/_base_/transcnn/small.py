"""TransCNN-Small as the backbone of a detector or segmentor."""

_base_ = 'tiny.py'

backbone = dict(arch='small', init_cfg=dict(checkpoint='transcnn://small'))
