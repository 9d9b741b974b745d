"""Pictures with label maps, in a layout that needs no conversion.

`data_root` holds `images/{train,val}/*.jpg` and `labels/{train,val}/*.png`. A pixel of
a map holds its class, numbered from 0, or 255 if it is unlabelled.
"""

_base_ = 'mmseg::_base_/datasets/ade20k.py'

from mmpatchconvnet.engine.config_edits import of_type

data_root = 'data/label_maps/'
size, crop_size = (480, 480), (256, 256)
train_pipeline = _base_.train_pipeline
of_type(train_pipeline, 'RandomResize').update(scale=size, ratio_range=(0.5, 1.5))
of_type(train_pipeline, 'RandomCrop').crop_size = crop_size
test_pipeline = _base_.test_pipeline
of_type(test_pipeline, 'Resize').scale = size
for pipeline in (train_pipeline, test_pipeline):
    of_type(pipeline, 'LoadAnnotations').reduce_zero_label = False

dataset = dict(
    _delete_=True, type='mmseg.BaseSegDataset', data_root=data_root, img_suffix='.jpg'
)
train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(
        **dataset,
        data_prefix=dict(img_path='images/train', seg_map_path='labels/train'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=2,
    dataset=dict(
        **dataset,
        data_prefix=dict(img_path='images/val', seg_map_path='labels/val'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
# Of mmseg's inferencer.
visualizer = dict(
    type='mmseg.SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')]
)
tta_model = dict(type='mmseg.SegTTAModel')  # of `test.py --tta`
del dataset, pipeline, size  # or they would become settings
