"""The sigmoid focal loss.

With z = x for the target class, -x for the others, and q = sigmoid(z), both cases are
-a (1 - q)^gamma log q, where a is alpha or 1 - alpha. mmcv clamps the logarithm, so it
differs at extreme logits.

On a GPU: mmcv's op should be faster and need less memory. It is one kernel; here each
term of the formula is stored.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmpatchconvnet.compat.ops.precision import full_precision


def _focal_terms(
    input: Tensor, target: Tensor, weight: Tensor, alpha: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Sign of z, z and a, each (N, C). A target outside [0, C) is background."""
    logits, weight = full_precision(input, weight)
    classes = torch.arange(logits.shape[1], device=logits.device)
    sign = (target[:, None] == classes).to(logits.dtype) * 2 - 1
    factor = 0.5 + sign * (alpha - 0.5)
    if weight.numel():  # (C,); raises for background, where mmcv reads past the end
        factor = factor * weight.index_select(0, target)[:, None]
    return sign, sign * logits, factor


def sigmoid_focal_loss_forward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Fill output (N, C) from logits (N, C) and class indices (N,)."""
    _, z, factor = _focal_terms(input, target, weight, alpha)
    output.copy_(-factor * torch.sigmoid(-z) ** gamma * F.logsigmoid(z))


def sigmoid_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Fill grad_input (N, C) with the derivative of each loss by its logit."""
    sign, z, factor = _focal_terms(input, target, weight, alpha)
    q, miss = torch.sigmoid(z), torch.sigmoid(-z)
    slope = miss**gamma * (gamma * q * F.logsigmoid(z) - miss)
    grad_input.copy_(sign * factor * slope)
