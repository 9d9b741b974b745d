"""MixPro on every batch: cells of other pictures, labels by area and attention.

A picture has 3 x 3 cells of 2 x 2 patches; the official code has 4 x 4 of 4 x 4.
"""

_base_ = 'classifier_patchconvnet-tiny-p16_signs.py'

mixpro = dict(type='mmpatchconvnet.MixPro', alpha=1.0, cell_size=32)
model = dict(
    type='mmpatchconvnet.AttentionMixClassifier', train_cfg=dict(augments=[mixpro])
)
del mixpro  # or it would become a setting
