"""One token for each class instead of one for all."""

_base_ = 'classifier_patchconvnet-tiny-p16_signs.py'

model = dict(
    neck=dict(num_tokens=_base_.model.head.num_classes),
    head=dict(
        _delete_=True,
        type='mmpatchconvnet.PerTokenLinearHead',
        num_classes=_base_.model.head.num_classes,
        in_channels=_base_.model.head.in_channels,
    ),
)
