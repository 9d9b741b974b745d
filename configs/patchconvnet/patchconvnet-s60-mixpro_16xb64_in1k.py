"""PatchConvNet-S60 on ImageNet-1k with MixPro on half of the batches.

The others have the recipe's Mixup or CutMix, as in the official code
(https://github.com/fistyee/MixPro). Cells of 64 pixels are 4 patches wide, as there.
"""

_base_ = 'patchconvnet-s60_16xb64_in1k.py'

model = dict(
    type='mmpatchconvnet.AttentionMixClassifier',
    train_cfg=dict(
        augments=[
            dict(type='mmpretrain.Mixup', alpha=0.8),
            dict(type='mmpretrain.CutMix', alpha=1.0),
            dict(type='mmpatchconvnet.MixPro', alpha=1.0, cell_size=64),
        ],
        probs=[0.25, 0.25, 0.5],
    ),
)
