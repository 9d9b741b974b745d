"""Instance segmentation of cell nuclei with a small Mask2Former, 400 steps.

    mmpatchconvnet train configs/demo/mask2former_patchconvnet-tiny_nuclei.py \
        --data-root PATH

Data, steps and crops are those of `mask-rcnn_patchconvnet-tiny_nuclei.py`.
Gradients are clipped as in Mask2Former's recipe.
"""

_base_ = [
    '../_base_/hosts/mmdet.py',
    '../_base_/models/mask2former_patchconvnet-tiny.py',
    '../_base_/datasets/coco_small.py',
    '../_base_/short_run.py',
]
model = dict(
    panoptic_head=dict(
        num_things_classes=1,
        loss_cls=dict(class_weight=[1.0, 0.1]),  # the second for no object
    ),
    panoptic_fusion_head=dict(num_things_classes=1),
)
optim_wrapper = dict(clip_grad=dict(max_norm=0.01))

metainfo = dict(classes=('nucleus',))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = val_dataloader
del metainfo  # or it would become a setting
