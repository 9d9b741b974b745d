"""Small pictures with label maps in the layout of ADE20K, not resized for testing.

`data_root` holds `images/` and `annotations/`, each with `training/` and `validation/`.
In the maps 0 means unlabelled, and classes start at 1.
"""

_base_ = 'mmseg::_base_/datasets/ade20k.py'

from mmpatchconvnet.engine.config_edits import of_type, replace

data_root = 'data/ade_small/'
crop_size = (128, 128)
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
of_type(train_pipeline, 'RandomResize').update(scale=crop_size, ratio_range=(0.75, 1.5))
of_type(train_pipeline, 'RandomCrop').crop_size = crop_size
replace(train_pipeline, 'PhotoMetricDistortion')  # colours identify classes here
replace(test_pipeline, 'Resize', dict(type='Resize', scale_factor=1.0))

dataset = dict(
    type='mmseg.BaseSegDataset',
    data_root=data_root,
    img_suffix='.png',
    reduce_zero_label=True,
)
train_dataloader = dict(
    batch_size=8, num_workers=2, dataset=dict(**dataset, pipeline=train_pipeline)
)
val_dataloader = dict(num_workers=2, dataset=dict(**dataset, pipeline=test_pipeline))
test_dataloader = val_dataloader
# Of mmseg's inferencer.
visualizer = dict(
    type='mmseg.SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')]
)
tta_model = dict(type='mmseg.SegTTAModel')  # of `test.py --tta`
del dataset  # or it would become a setting
