"""TransMix on every batch: boxes of other pictures, labels by attention."""

_base_ = '../demo/classifier_patchconvnet-tiny_signs.py'

model = dict(
    type='mmpatchconvnet.AttentionMixClassifier',
    train_cfg=dict(augments=[dict(type='mmpatchconvnet.TransMix', alpha=1.0)]),
)
