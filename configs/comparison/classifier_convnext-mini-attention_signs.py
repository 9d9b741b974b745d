"""The small ConvNeXt with attention pooling instead of its average.

The pooling has a tenth of the learning rate; with the full rate it hardly learns.
"""

_base_ = 'classifier_convnext-mini_signs.py'

model = dict(
    backbone=dict(gap_before_final_norm=False),
    neck=dict(
        _delete_=True,
        type='mmpatchconvnet.AttentionPooling',
        in_channels=256,
        layer_scale_init_value=1.0,
    ),
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(neck=dict(lr_mult=0.1))))
