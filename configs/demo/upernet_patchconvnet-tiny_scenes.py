"""Labels every pixel of the generated scenes: six classes and background, 400 steps."""

_base_ = [
    '../_base_/models/upernet_patchconvnet-tiny.py',
    '../_base_/datasets/ade_small.py',
    '../_base_/short_run.py',
]
default_scope = 'mmseg'

optim_wrapper = dict(optimizer=dict(lr=2e-3))

classes = ('background', 'ball', 'donut', 'leaf', 'sail', 'star', 'tile')
model = dict(
    decode_head=dict(num_classes=len(classes)),
    auxiliary_head=dict(num_classes=len(classes)),
)

palette = [
    [90, 95, 105],
    [230, 75, 53],
    [240, 140, 200],
    [60, 170, 80],
    [60, 130, 235],
    [250, 200, 50],
    [150, 95, 215],
]
metainfo = dict(classes=classes, palette=palette)
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = val_dataloader
