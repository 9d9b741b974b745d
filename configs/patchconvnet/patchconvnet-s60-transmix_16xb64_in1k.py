"""PatchConvNet-S60 on ImageNet-1k with TransMix in place of CutMix.

As in the TransMix paper (https://arxiv.org/abs/2111.09833), the recipe, here that of
Swin-T, keeps its Mixup.
"""

_base_ = 'patchconvnet-s60_16xb64_in1k.py'

model = dict(
    type='mmpatchconvnet.AttentionMixClassifier',
    train_cfg=dict(
        augments=[
            dict(type='mmpretrain.Mixup', alpha=0.8),
            dict(type='mmpatchconvnet.TransMix', alpha=1.0),
        ]
    ),
)
