"""ResNet-18 with attention pooling instead of average pooling.

The pooling has a tenth of the learning rate; with the full rate it hardly learns.
"""

_base_ = 'classifier_resnet18_signs.py'

model = dict(
    neck=dict(
        _delete_=True,
        type='mmpatchconvnet.AttentionPooling',
        in_channels=512,
        layer_scale_init_value=1.0,
    )
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(neck=dict(lr_mult=0.1))))
