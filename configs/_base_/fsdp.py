"""Trains with FSDP: weights, gradients and moments are split over the processes.

Add it as the last of a leaf's `_base_`, or give its keys to `--cfg-options`, and start
the processes with `--launcher pytorch` or `slurm`. Each block of the column is gathered
when it is needed; checkpoints are whole, as those of any other run. When it pays, and
when DDP is enough: docs/scaling.md.
"""

runner_type = 'FlexibleRunner'
strategy = dict(
    type='mmpatchconvnet.ShardedStrategy',
    model_wrapper=dict(auto_wrap_policy=dict(type='mmpatchconvnet.wrap_each_block')),
)
