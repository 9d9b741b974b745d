"""This machine's processor, and which of torch's libraries is fast on it."""

import os
import platform
from functools import cache
from pathlib import Path

LIBRARIES = ('onednn', 'mkl')
VARIABLE = 'MMPATCHCONVNET_CPU_PRODUCTS'


def cpu_name() -> str:
    """Name of the processor; `platform.processor()` is empty on many systems."""
    info = Path('/proc/cpuinfo')
    for line in info.read_text().splitlines() if info.is_file() else ():
        if line.startswith('model name'):
            return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()


def cpu_capability() -> str:
    """The vector instructions that torch uses: `DEFAULT`, `AVX2`, `AVX512`, ..."""
    import torch

    return torch.backends.cpu.get_cpu_capability()


@cache
def product_library() -> str:
    """The library that multiplies matrices in float32: `onednn` or `mkl`.

    It is oneDNN with AVX-512, MKL otherwise, see `models/block/cpu.py`, so every run on
    one machine uses the same. The environment variable MMPATCHCONVNET_CPU_PRODUCTS,
    read once, takes precedence.

    Raises:
        ValueError: The variable names neither library.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen is None:
        return 'onednn' if cpu_capability() == 'AVX512' else 'mkl'
    if chosen not in LIBRARIES:
        raise ValueError(
            f'{VARIABLE}={chosen!r} is unknown: set it to {" or ".join(LIBRARIES)}, '
            'or unset it.'
        )
    return chosen
