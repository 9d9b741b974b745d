"""UperNet on ADE20K with mmpretrain's ViT-B/16 from MAE before `SimplePyramid`.

The base has mmseg's own ViT before `Feature2Pyramid`, with layer-wise decay 0.65.
"""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    '../_base_/runtime.py',
    '../_base_/columns/vit-b16-mae.py',
    'mmseg::mae/mae-base_upernet_8xb2-amp-160k_ade20k-512x512.py',
]

_base_.layer_decay.decay_rate = 0.65
model = dict(
    pretrained=None,
    backbone=dict(_delete_=True, **_base_.pop('column')),
    neck=dict(_delete_=True, **_base_.pop('pyramid')),
    decode_head=dict(
        type='mmpatchconvnet.FastUPerHead', in_channels=[_base_.width] * 4
    ),
    auxiliary_head=dict(in_channels=_base_.pop('width')),
)
optim_wrapper = dict(
    constructor='mmpatchconvnet.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(_delete_=True, **_base_.pop('layer_decay')),
)
default_hooks = _base_.pop('hooks')
