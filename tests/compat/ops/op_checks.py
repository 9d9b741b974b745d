"""What the tests of several ops share."""

import torch
from torch import Tensor

HALVES = [torch.float16, torch.bfloat16]


def features(dtype: torch.dtype = torch.float32) -> Tensor:
    """Random maps (2, 3, 6, 7) that require a gradient."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 6, 7, generator=generator).to(dtype).requires_grad_()


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    return float((actual.detach() - expected).abs().max() / expected.abs().max())
