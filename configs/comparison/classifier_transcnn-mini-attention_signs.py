"""The small HAT-Net with attention pooling instead of average pooling."""

_base_ = 'classifier_transcnn-mini_signs.py'

model = dict(
    neck=dict(
        _delete_=True,
        type='mmpatchconvnet.AttentionPooling',
        in_channels=256,
        layer_scale_init_value=1.0,
    )
)
