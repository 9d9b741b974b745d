"""Classifies the things of the generated scenes: six classes, 400 steps."""

_base_ = [
    '../_base_/models/classifier_patchconvnet-tiny.py',
    '../_base_/datasets/class_folders_small.py',
    '../_base_/short_run.py',
]
default_scope = 'mmpretrain'

classes = ('ball', 'donut', 'leaf', 'sail', 'star', 'tile')
model = dict(head=dict(num_classes=len(classes)))
data_preprocessor = dict(num_classes=len(classes))

metainfo = dict(classes=classes)
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = val_dataloader
