"""Hooks of every config here: seeds of each step, a progress bar, curves of the losses.

They stand beside those of a host, whose `default_hooks` a leaf extends by

    default_hooks = _base_.pop('hooks')

Taken out of the base like this, a variable of a fragment is not left behind as a
setting that nothing reads.
"""

hooks = dict(
    iteration_seed=dict(type='mmpatchconvnet.IterationSeedHook'),
    progress_bar=dict(type='mmpatchconvnet.ProgressBarHook'),
    loss_curve=dict(type='mmpatchconvnet.LossCurveHook'),
)
