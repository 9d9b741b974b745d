"""Labels every pixel of the generated scenes: six classes and background, 400 steps."""

_base_ = [
    '../_base_/models/upernet_patchconvnet-tiny.py',
    '../_base_/datasets/ade_small.py',
    '../_base_/datasets/scenes_classes.py',
    '../_base_/short_run.py',
]
default_scope = 'mmseg'

optim_wrapper = dict(optimizer=dict(lr=2e-3))

num_classes = 1 + len(_base_.classes)
model = dict(
    decode_head=dict(num_classes=num_classes),
    auxiliary_head=dict(num_classes=num_classes),
)

metainfo = dict(
    classes=('background', *_base_.classes), palette=[(90, 95, 105), *_base_.palette]
)
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = val_dataloader
