"""The dtype that the ops compute in."""

import torch
from torch import Tensor


def full_precision(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one dtype, float32 or wider: torchvision's CPU kernels have no half."""
    if not (a.is_floating_point() and b.is_floating_point()):
        raise TypeError(f'expected floating point tensors, got {a.dtype}, {b.dtype}')
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    return a.to(dtype), b.to(dtype)
