"""Instance segmentation of cell nuclei: 180 real pictures, 400 steps on two CPU cores.

    mmpatchconvnet train configs/demo/mask-rcnn_patchconvnet-tiny_nuclei.py \
        --data-root PATH

PATH holds `images/{train,val}` and `annotations/instances_{train,val}.json` in COCO
format: the training pictures of the 2018 Data Science Bowl (BBBC038, CC0), or your own
data with one class, which has the same name in `metainfo` as in the files.
"""

_base_ = [
    '../_base_/hosts/mmdet.py',
    '../_base_/models/mask-rcnn_patchconvnet-tiny.py',
    '../_base_/datasets/coco_small.py',
    '../_base_/short_run.py',
]
model = dict(
    roi_head=dict(bbox_head=dict(num_classes=1), mask_head=dict(num_classes=1))
)

metainfo = dict(classes=('nucleus',))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = val_dataloader
del metainfo  # or it would become a setting
