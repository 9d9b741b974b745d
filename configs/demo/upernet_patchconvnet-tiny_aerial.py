"""Semantic segmentation of aerial pictures: 110 real pictures, 300 steps.

    mmpatchconvnet train configs/demo/upernet_patchconvnet-tiny_aerial.py \
        --data-root PATH

PATH holds `images/{train,val}/*.jpg` and `labels/{train,val}/*.png`: tiles of Dubai by
Humans in the Loop and the MBRSC, or your own data with its classes in `metainfo`.
"""

_base_ = [
    '../_base_/hosts/mmseg.py',
    '../_base_/models/upernet_patchconvnet-tiny.py',
    '../_base_/datasets/label_maps_small.py',
    '../_base_/short_run.py',
]
from mmpatchconvnet.engine.config_edits import of_type

optim_wrapper = dict(optimizer=dict(lr=2e-3))
max_iters = 300
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
of_type(_base_.param_scheduler, 'CosineAnnealingLR').end = max_iters
default_hooks = dict(checkpoint=dict(interval=max_iters))

# More than half of all pixels are land: prefer crops with less of it.
of_type(_base_.train_pipeline, 'RandomCrop').cat_max_ratio = 0.5

metainfo = dict(
    classes=('building', 'land', 'road', 'vegetation', 'water'),
    palette=[
        (215, 70, 60),
        (225, 195, 140),
        (85, 85, 95),
        (60, 160, 75),
        (50, 120, 220),
    ],
)
num_classes = len(metainfo['classes'])
# Roads and houses are small: the Lovasz loss weights classes equally, as mIoU does.
cross_entropy = dict(type='mmseg.CrossEntropyLoss', loss_weight=1.0)
lovasz = dict(type='mmseg.LovaszLoss', reduction='none', loss_weight=1.0)
model = dict(
    decode_head=dict(num_classes=num_classes, loss_decode=[cross_entropy, lovasz]),
    auxiliary_head=dict(num_classes=num_classes),
)
train_dataloader = dict(dataset=dict(metainfo=metainfo, pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = val_dataloader
# Or they would become settings.
del cross_entropy, lovasz, max_iters, metainfo, num_classes
