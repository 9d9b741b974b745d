"""Train with FSDP: weights, gradients and moments are split over the processes.

Add it as the last of a leaf's `_base_`, or give its keys to `--cfg-options`, and start
the processes with `--launcher pytorch` or `slurm`. Each block of the column is gathered
when it is needed. Checkpoints hold the whole model, as in any other run.
docs/scaling.md says when FSDP pays off and when DDP is enough.
"""

runner_type = 'FlexibleRunner'
strategy = dict(
    type='mmpatchconvnet.ShardedStrategy',
    model_wrapper=dict(auto_wrap_policy=dict(type='mmpatchconvnet.wrap_each_block')),
)
