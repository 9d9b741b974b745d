"""Detection of cell nuclei with a small DINO, 400 steps.

    mmpatchconvnet train configs/demo/dino_patchconvnet-tiny_nuclei.py \
        --data-root PATH

Data, steps and crops are those of `mask-rcnn_patchconvnet-tiny_nuclei.py`.
DINO finds boxes only. Gradients are clipped as in its recipe.
"""

_base_ = [
    '../_base_/hosts/mmdet.py',
    '../_base_/models/dino_patchconvnet-tiny.py',
    '../_base_/datasets/coco_small.py',
    '../_base_/short_run.py',
]
model = dict(bbox_head=dict(num_classes=1))
optim_wrapper = dict(clip_grad=dict(max_norm=0.1))
val_evaluator = dict(metric='bbox')
test_evaluator = val_evaluator

metainfo = dict(classes=('nucleus',))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = val_dataloader
del metainfo  # or it would become a setting
