"""RegNetX-400MF instead of ResNet-18."""

_base_ = 'classifier_resnet18_signs.py'

model = dict(
    backbone=dict(_delete_=True, type='RegNet', arch='regnetx_400mf'),
    head=dict(in_channels=384),
)
