"""Batch normalization over several processes; mmcv's Python adds up between the steps.

Statistics and gradients of the parameters are computed in the dtype of mmcv's buffers,
float32. mmcv's op runs on a GPU only.

On a GPU: mmcv's op should be faster, as it reads a map once in each step and makes no
temporary maps. torch's own SyncBatchNorm is as fast.
"""

import torch
from torch import Tensor


def _columns(statistic: Tensor) -> Tensor:
    """(C,) to be combined with (B, C, N)."""
    return statistic[:, None]


def sync_bn_forward_mean(input: Tensor, mean: Tensor) -> None:
    """Fill mean (C,) from input (B, C, N)."""
    mean.copy_(input.to(mean.dtype).mean((0, 2)))


def sync_bn_forward_var(input: Tensor, mean: Tensor, var: Tensor) -> None:
    """Fill var (C,) with the mean square of input (B, C, N) minus mean (C,)."""
    var.copy_((input - _columns(mean)).square().mean((0, 2)))


def sync_bn_forward_output(
    input: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    norm: Tensor,
    std: Tensor,
    output: Tensor,
    eps: float,
    momentum: float | Tensor,
    group_size: int,
) -> None:
    """Fill norm and output (B, C, N) and std (C,); update the running statistics (C,).

    The running variance is unbiased as if each of ``group_size`` processes had as many
    values as this one.
    """
    torch.sqrt(var + eps, out=std)
    norm.copy_((input - _columns(mean)) / _columns(std))
    if weight is None or bias is None:
        output.copy_(norm)
    else:
        output.copy_(norm * _columns(weight) + _columns(bias))
    if running_mean is not None and running_var is not None:
        count = input.shape[0] * input.shape[2] * group_size
        unbiased = var * count / (count - 1) if count > 1 else var
        running_mean.copy_(momentum * mean + (1 - momentum) * running_mean)
        running_var.copy_(momentum * unbiased + (1 - momentum) * running_var)


def sync_bn_backward_param(
    grad_output: Tensor, norm: Tensor, grad_weight: Tensor, grad_bias: Tensor
) -> None:
    """Fill grad_weight and grad_bias (C,) from grad_output and norm (B, C, N)."""
    grad = grad_output.to(norm.dtype)
    grad_weight.copy_((grad * norm).sum((0, 2)))
    grad_bias.copy_(grad.sum((0, 2)))


def sync_bn_backward_data(
    grad_output: Tensor,
    weight: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    norm: Tensor,
    std: Tensor,
    grad_input: Tensor,
) -> None:
    """Fill grad_input (B, C, N); grad_weight and grad_bias are means over processes."""
    count = norm.shape[0] * norm.shape[2]
    shared = (_columns(grad_weight) * norm + _columns(grad_bias)) / count
    grad_input.copy_(_columns(weight) * (grad_output - shared) / _columns(std))
