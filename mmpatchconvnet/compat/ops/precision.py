"""The dtype that the ops compute in."""

from functools import reduce

import torch
from torch import Tensor


def full_precision(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All in one dtype, float32 or wider: torchvision's CPU kernels have no half."""
    dtypes = [tensor.dtype for tensor in tensors]
    if not all(dtype.is_floating_point for dtype in dtypes):
        given = ', '.join(map(str, dtypes))
        raise TypeError(f'expected floating point tensors, got {given}')
    dtype = reduce(torch.promote_types, dtypes, torch.float32)
    return tuple(tensor.to(dtype) for tensor in tensors)
