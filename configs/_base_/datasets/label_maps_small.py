"""Pictures with label maps, in a layout that needs no conversion.

`images/{train,val}/*.jpg` and `labels/{train,val}/*.png` lie below `data_root`; a pixel
of a map holds its class, from 0, or 255 where nobody labelled it.
"""

_base_ = 'mmseg::_base_/datasets/ade20k.py'

data_root = 'data/label_maps/'
size, crop_size = (480, 480), (256, 256)
train_pipeline = _base_.train_pipeline
train_pipeline[1].reduce_zero_label = False
train_pipeline[2] = dict(
    type='RandomResize', scale=size, ratio_range=(0.5, 1.5), keep_ratio=True
)
train_pipeline[3].crop_size = crop_size
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = size
test_pipeline[2].reduce_zero_label = False

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
del dataset  # or it would become a setting
