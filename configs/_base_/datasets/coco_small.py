"""Small pictures in COCO format, not resized: random crops for training.

`data_root` holds `images/{train,val}` and `annotations/instances_{train,val}.json`.
"""

_base_ = 'mmdet::_base_/datasets/coco_instance.py'

from mmpatchconvnet.engine.config_edits import replace

data_root = 'data/coco_small/'
# Only the loaders keep them, where mmdet looks for them.
train_pipeline, test_pipeline = map(_base_.pop, ('train_pipeline', 'test_pipeline'))
replace(train_pipeline, 'Resize', dict(type='RandomCrop', crop_size=(224, 224)))
replace(test_pipeline, 'Resize', dict(type='Resize', scale_factor=1.0))

train_dataloader = dict(
    batch_size=4,
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    batch_sampler=None,
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='images/train/'),
        filter_cfg=dict(min_size=1),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='images/val/'),
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator
# Of mmdet's inferencer.
visualizer = dict(
    type='mmdet.DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')]
)
del train_pipeline, test_pipeline
