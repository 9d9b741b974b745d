"""ResNet-18 with hierarchical attention behind its third and fourth stage."""

_base_ = ['../_base_/transcnn/resnet18-hmhsa.py', 'mask-rcnn_resnet18_nuclei.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpatchconvnet.with_plugins',
        backbone=_base_.model.backbone,
        plugins=_base_.pop('plugins'),
    )
)
