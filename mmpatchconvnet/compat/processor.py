"""This machine's processor, and which of torch's libraries is fast on it."""

import os
import platform
from functools import cache
from pathlib import Path

VARIABLE = 'MMPATCHCONVNET_CPU_PRODUCTS'


def cpu_name() -> str:
    """Name of the processor; `platform.processor()` is empty on many systems.

    It ends in the x86 family and model, because virtual machines shorten the name: all
    generations are 'AMD EPYC' there.
    """
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.is_file() else ()
    told = {
        key.strip(): text.strip()
        for key, _, text in (line.partition(':') for line in lines)
    }
    name = told.get('model name') or platform.processor() or platform.machine()
    if 'cpu family' in told:
        name += f' (family {told["cpu family"]}, model {told["model"]})'
    return name


def cpu_capability() -> str:
    """The vector instructions that torch uses: `DEFAULT`, `AVX2`, `AVX512`, ..."""
    import torch

    return torch.backends.cpu.get_cpu_capability()


def product_libraries() -> tuple[str, str]:
    """oneDNN, and the library that torch itself uses: `mkl` if it was built with MKL.

    Elsewhere, as on ARM, this is `torch`: OpenBLAS, Accelerate or the like.
    """
    import torch

    return 'onednn', 'mkl' if torch.backends.mkl.is_available() else 'torch'


@cache
def product_library() -> str:
    """The library that multiplies matrices in float32: `onednn`, `mkl` or `torch`.

    It is oneDNN with AVX-512 and torch's own choice otherwise, see
    `models/block/cpu.py`, so every run on one machine uses the same. The environment
    variable MMPATCHCONVNET_CPU_PRODUCTS, read once, takes precedence.

    Raises:
        ValueError: The variable names a library that this build of torch does not have.
    """
    libraries = product_libraries()
    chosen = os.environ.get(VARIABLE)
    if chosen is None:
        onednn, own = libraries
        return onednn if cpu_capability() == 'AVX512' else own
    if chosen not in libraries:
        raise ValueError(
            f'{VARIABLE}={chosen!r} is unknown here: set it to '
            f'{" or ".join(libraries)}, or unset it.'
        )
    return chosen
