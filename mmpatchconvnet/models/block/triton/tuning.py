"""Block sizes of the kernels: `triton.autotune` times a few and keeps the fastest.

It does so for the first map of each width, dtype and size. Sizes are rounded to powers
of two, as a detector's images differ in every batch.
"""

from collections.abc import Callable
from typing import Any

import torch
import triton

from mmpatchconvnet.models.block.triton import is_interpreted


def autotune(*configs: triton.Config) -> Callable[[Any], Any]:
    """Tune a kernel that has the arguments `channels` and `size`.

    The interpreter uses the first config, as its times say nothing about a GPU.
    """
    return triton.autotune(
        list(configs[:1] if is_interpreted() else configs), key=['channels', 'size']
    )


def launch(kernel: Any, grid: Any, *args: Any, **settings: Any) -> None:
    """Run a kernel on the GPU that holds its first argument, a map (B, H, W, C)."""
    size = args[0][..., 0].numel().bit_length()
    with torch.cuda.device_of(args[0]):
        kernel[grid](*args, size=size, **settings)
