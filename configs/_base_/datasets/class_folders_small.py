"""Small pictures in class folders, `train/CLASS/*` and `val/CLASS/*`, at 64 x 64."""

_base_ = 'mmpretrain::_base_/datasets/imagenet_bs32.py'

from mmpatchconvnet.engine.config_edits import replace

data_root = 'data/class_folders/'
size = 64
train_pipeline = _base_.train_pipeline
crop = dict(
    type='mmpretrain.RandomResizedCrop', scale=size, crop_ratio_range=(0.5, 1.0)
)
replace(train_pipeline, 'RandomResizedCrop', crop)
test_pipeline = _base_.test_pipeline
replace(test_pipeline, 'ResizeEdge', dict(type='Resize', scale=size))
replace(test_pipeline, 'CenterCrop')
train_dataloader = dict(
    num_workers=2,
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    dataset=dict(
        _delete_=True,
        type='mmpretrain.CustomDataset',
        data_root=data_root,
        data_prefix='train',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=2,
    dataset=dict(
        _delete_=True,
        type='mmpretrain.CustomDataset',
        data_root=data_root,
        data_prefix='val',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator
# Of mmpretrain's inferencer.
visualizer = dict(
    type='mmpretrain.UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')]
)
del crop, size  # or they would become settings
