"""The small Swin with attention pooling instead of average pooling.

100 steps of warm-up instead of 20. With 20 steps it learns late; a tenth of the
learning rate for the pooling helps less.
"""

_base_ = 'classifier_swin-mini_signs.py'
from mmpatchconvnet.engine.config_edits import of_type

warm_up = 100
of_type(_base_.param_scheduler, 'LinearLR').end = warm_up
of_type(_base_.param_scheduler, 'CosineAnnealingLR').begin = warm_up
del warm_up  # or it would become a setting

model = dict(
    neck=dict(
        _delete_=True,
        type='mmpatchconvnet.AttentionPooling',
        in_channels=384,
        layer_scale_init_value=1.0,
    )
)
