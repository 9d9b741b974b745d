"""Gradients that are equal in every run, where this is required of a GPU."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor


def repeatable(
    gradients: Callable[..., tuple[Tensor, ...]],
) -> Callable[..., tuple[Tensor, ...]]:
    """Compute ``gradients`` on the CPU if PyTorch must use deterministic algorithms.

    On a GPU, kernels that scatter gradients add in any order. torch's own raise in this
    mode, torchvision's raise or not, depending on its version. The CPU is slower but
    adds in one order.

    Args:
        gradients: A function of tensors and other arguments, all positional, that
            changes none of them and returns a tuple of tensors.
    """

    @wraps(gradients)
    def run(*args: Any) -> tuple[Tensor, ...]:
        device = next(arg.device for arg in args if isinstance(arg, Tensor))
        if device.type == 'cpu' or not _deterministic():
            return gradients(*args)
        copies = (arg.cpu() if isinstance(arg, Tensor) else arg for arg in args)
        return tuple(gradient.to(device) for gradient in gradients(*copies))

    return run


def _deterministic() -> bool:
    """Whether an algorithm that is not deterministic would be an error."""
    return (
        torch.are_deterministic_algorithms_enabled()
        and not torch.is_deterministic_algorithms_warn_only_enabled()
    )
