"""Linear layers and the gate of the block, with explicit gradients.

`lean.py` and `fused.py` share them.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmpatchconvnet.models.block import cpu


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear`, with the library that is faster on this processor."""
    product = cpu.linear if cpu.can_run(x, weight) else F.linear
    return product(x, weight, bias)


def squeeze_excite(
    mean: Tensor,
    reduce_weight: Tensor,
    reduce_bias: Tensor,
    expand_weight: Tensor,
    expand_bias: Tensor,
) -> tuple[Tensor, Tensor]:
    """The narrow layer (B, C / 4) and the gate (B, C) of the mean (B, C) over a map."""
    reduced = F.relu(F.linear(mean, reduce_weight, reduce_bias))
    return reduced, F.linear(reduced, expand_weight, expand_bias).sigmoid()


def squeeze_excite_gradients(
    grad_gate: Tensor,
    mean: Tensor,
    reduced: Tensor,
    gate: Tensor,
    reduce_weight: Tensor,
    expand_weight: Tensor,
) -> tuple[Tensor, ...]:
    """Gradients of the mean, then of weight and bias of both layers in order."""
    grad_expanded = grad_gate * gate * (1 - gate)
    grad_reduced = (grad_expanded @ expand_weight) * (reduced > 0)
    return (
        grad_reduced @ reduce_weight,
        *linear_gradients(grad_reduced, mean),
        *linear_gradients(grad_expanded, reduced),
    )


def scaled_linear_gradients(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, gamma: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of weight, bias and gamma, given the gradient of gamma * linear(x).

    The gradient of gamma does not need the output of the layer: sum(grad * (weight @ x
    + bias)) is sum(weight * (grad @ x)) + sum(bias * grad).
    """
    size: Any = 1.0
    # Without gamma, sums over all pixels overflow float16.
    if x.dtype == torch.float16 and x.numel():
        size = grad.abs().amax().float() * (grad.numel() / len(gamma)) ** 0.5
        size = size.clamp(min=torch.finfo(torch.float32).tiny)
        grad = grad / size
    of_linear = linear_gradients(grad.to(x.dtype), x)
    unscaled_weight, unscaled_bias = (size * g.to(gamma.dtype) for g in of_linear)
    grad_gamma = (weight * unscaled_weight).sum(1) + bias * unscaled_bias
    return (
        (gamma[:, None] * unscaled_weight).to(weight.dtype),
        (gamma * unscaled_bias).to(bias.dtype),
        grad_gamma.to(gamma.dtype),
    )


def linear_gradients(grad: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of weight and bias of a linear layer of x (..., C)."""
    grad = grad.flatten(0, -2)
    return linear(grad.T, x.flatten(0, -2).T), grad.sum(0)
