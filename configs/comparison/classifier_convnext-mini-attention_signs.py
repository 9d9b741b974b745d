"""The small ConvNeXt with attention pooling instead of its average.

A quarter of the learning rate, and a tenth of that for the pooling; with the full rate,
top-1 stays at 10 %.
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
optim_wrapper = dict(
    optimizer=dict(lr=2.5e-4),
    paramwise_cfg=dict(custom_keys=dict(neck=dict(lr_mult=0.1))),
)
