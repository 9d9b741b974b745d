"""Finds the things of the generated scenes: six classes, 400 steps."""

_base_ = [
    '../_base_/hosts/mmdet.py',
    '../_base_/models/mask-rcnn_patchconvnet-tiny.py',
    '../_base_/datasets/coco_small.py',
    '../_base_/datasets/scenes_classes.py',
    '../_base_/short_run.py',
]
classes, palette = _base_.pop('classes'), _base_.pop('palette')
num_classes = len(classes)
model = dict(
    roi_head=dict(
        bbox_head=dict(num_classes=num_classes),
        mask_head=dict(num_classes=num_classes),
    ),
    # After so few steps boxes are inexact, and one thing gets several of them.
    test_cfg=dict(rcnn=dict(max_per_img=100, nms=dict(iou_threshold=0.35))),
)

metainfo = dict(classes=classes, palette=palette)
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = val_dataloader
del classes, metainfo, num_classes, palette  # or they would become settings
