"""The small ConvNeXt with attention pooling instead of its average."""

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
