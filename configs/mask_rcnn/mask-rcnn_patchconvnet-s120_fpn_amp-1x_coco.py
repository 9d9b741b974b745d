"""The same in mixed precision."""

_base_ = 'mask-rcnn_patchconvnet-s120_fpn_1x_coco.py'

optim_wrapper = dict(type='AmpOptimWrapper')
