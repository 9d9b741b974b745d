"""RegNetX-400MF with attention pooling instead of average pooling."""

_base_ = 'classifier_regnetx-400mf_signs.py'

model = dict(
    neck=dict(
        _delete_=True,
        type='mmpatchconvnet.AttentionPooling',
        in_channels=384,
        layer_scale_init_value=1.0,
    )
)
