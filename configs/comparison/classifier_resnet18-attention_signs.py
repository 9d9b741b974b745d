"""ResNet-18 with attention pooling instead of average pooling."""

_base_ = 'classifier_resnet18_signs.py'

model = dict(
    neck=dict(
        _delete_=True,
        type='mmpatchconvnet.AttentionPooling',
        in_channels=512,
        layer_scale_init_value=1.0,
    )
)
