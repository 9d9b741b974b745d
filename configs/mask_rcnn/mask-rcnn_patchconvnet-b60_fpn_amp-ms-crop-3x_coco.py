"""The same in mixed precision."""

_base_ = 'mask-rcnn_patchconvnet-b60_fpn_ms-crop-3x_coco.py'

optim_wrapper = dict(type='AmpOptimWrapper')
