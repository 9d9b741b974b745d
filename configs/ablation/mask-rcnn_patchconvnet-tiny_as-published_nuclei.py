"""As published: LayerNorm, and the default initialization of convolutions."""

_base_ = '../demo/mask-rcnn_patchconvnet-tiny_nuclei.py'

model = dict(backbone=dict(norm_cfg=None, init_cfg=None))
