"""Classifies the ten digits of sign language: 600 real pictures, 600 steps.

    mmpatchconvnet train configs/demo/classifier_patchconvnet-tiny_signs.py \
        --data-root PATH

PATH holds `train/CLASS/*` and `val/CLASS/*`: the data set of Mavi 2020
(https://arxiv.org/abs/2011.08927), or your own with its folders' names in `metainfo`.

Stride 8, and the pooling at a tenth of the rate: both were chosen by cross-validation
(`configs/ablation`).
"""

_base_ = '../_base_/classifier_signs.py'

model = dict(backbone=dict(arch=dict(patch_size=8)))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(neck=dict(lr_mult=0.1))))
