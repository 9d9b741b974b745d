"""Labels every pixel of the generated scenes: six classes and background, 400 steps."""

_base_ = [
    '../_base_/hosts/mmseg.py',
    '../_base_/models/upernet_patchconvnet-tiny.py',
    '../_base_/datasets/ade_small.py',
    '../_base_/datasets/scenes_classes.py',
    '../_base_/short_run.py',
]
optim_wrapper = dict(optimizer=dict(lr=2e-3))

classes = ('background', *_base_.pop('classes'))
palette = [(90, 95, 105), *_base_.pop('palette')]
num_classes = len(classes)
model = dict(
    decode_head=dict(num_classes=num_classes),
    auxiliary_head=dict(num_classes=num_classes),
)

metainfo = dict(classes=classes, palette=palette)
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = val_dataloader
del classes, metainfo, num_classes, palette  # or they would become settings
