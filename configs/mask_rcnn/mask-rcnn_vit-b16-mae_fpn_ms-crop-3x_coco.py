"""Mask R-CNN on COCO for 36 epochs with ViT-B/16 from MAE before `SimplePyramid`.

The recipe is Swin-T's with layer-wise decay. ViTDet's has large-scale jitter, 100
epochs, deeper heads and no FPN behind the pyramid.
"""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    '../_base_/runtime.py',
    '../_base_/columns/vit-b16-mae.py',
    'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_ms-crop-3x_coco.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.pop('column')),
    neck=[
        _base_.pop('pyramid'),
        dict(_base_.model.neck, in_channels=[_base_.pop('width')] * 4),
    ],
)
optim_wrapper = dict(
    constructor='mmpatchconvnet.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(_delete_=True, **_base_.pop('layer_decay')),
)
default_hooks = _base_.pop('hooks')
