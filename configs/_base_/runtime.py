"""Hooks of every config here: seeds of each step, a progress bar, loss curves.

A leaf adds them to the `default_hooks` of its host by

    default_hooks = _base_.pop('hooks')

`pop` also removes the variable, which would otherwise stay in the config as a setting
that nothing reads.
"""

hooks = dict(
    iteration_seed=dict(type='mmpatchconvnet.IterationSeedHook'),
    progress_bar=dict(type='mmpatchconvnet.ProgressBarHook'),
    loss_curve=dict(type='mmpatchconvnet.LossCurveHook'),
)
