"""TransMix on every batch: boxes of other pictures, labels by attention."""

_base_ = 'classifier_patchconvnet-tiny-p16_signs.py'

model = dict(
    type='mmpatchconvnet.AttentionMixClassifier',
    train_cfg=dict(augments=[dict(type='mmpatchconvnet.TransMix', alpha=1.0)]),
)
