"""Small pictures of several classes each, as large as they are.

`data_root` holds `images/{train,val}` and `annotations/labels_{train,val}.json`, which
lists pictures with all their classes, as mmpretrain's `MultiLabelDataset` reads them.
"""

_base_ = 'mmpretrain::_base_/datasets/imagenet_bs32.py'

from mmpatchconvnet.engine.config_edits import of_type, replace

data_root = 'data/multi_label/'
train_pipeline = _base_.train_pipeline
replace(train_pipeline, 'RandomResizedCrop')  # it would cut things off
of_type(train_pipeline, 'RandomFlip').update(
    prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']
)
test_pipeline = _base_.test_pipeline
replace(test_pipeline, 'ResizeEdge')
replace(test_pipeline, 'CenterCrop')

dataset = dict(_delete_=True, type='mmpretrain.MultiLabelDataset', data_root=data_root)
train_dataloader = dict(
    num_workers=2,
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    dataset=dict(
        **dataset,
        ann_file='annotations/labels_train.json',
        data_prefix='images/train',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=2,
    dataset=dict(
        **dataset,
        ann_file='annotations/labels_val.json',
        data_prefix='images/val',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='mmpretrain.AveragePrecision'),
    dict(type='mmpretrain.MultiLabelMetric', thr=0.5),
]
test_evaluator = val_evaluator
data_preprocessor = dict(to_onehot=True)
del dataset  # or it would become a setting
