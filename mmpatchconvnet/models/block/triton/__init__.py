"""Triton kernels for the parts of a block that nothing else fuses.

`gelu_depthwise.py` is everything between the two products of a block, `gated_linear.py`
the last product with what stands before and behind it; `tuning.py` chooses the sizes of
their blocks. Triton comes with PyTorch for CUDA; nothing here is imported without it.
"""

import os
from importlib.util import find_spec

import torch
from torch import Tensor

HAS_TRITON = find_spec('triton') is not None
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def can_run(x: Tensor) -> bool:
    """Whether the kernels take this map: on a GPU, or on a CPU in Triton's interpreter.

    The interpreter, for tests, is chosen by `TRITON_INTERPRET=1` before the first use.
    """
    has_device = x.is_cuda or (x.device.type == 'cpu' and is_interpreted())
    return has_device and x.dtype in DTYPES and HAS_TRITON


def is_interpreted() -> bool:
    return os.environ.get('TRITON_INTERPRET') == '1'


def tf32_is_allowed() -> bool:
    """Whether products in float32 may be rounded, in the settings of any PyTorch."""
    matmul = torch.backends.cuda.matmul
    if hasattr(matmul, 'fp32_precision'):
        return matmul.fp32_precision == 'tf32'
    return matmul.allow_tf32
