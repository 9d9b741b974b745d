"""Triton kernels for the parts of a block that nothing else fuses.

`gelu_depthwise.py` is everything between the two products of a block, `gated_linear.py`
the last product with the steps before and after it; `tuning.py` chooses their block
sizes. Triton comes with PyTorch for CUDA; the kernels are imported only where it is.
"""

import os
from importlib.util import find_spec

import torch
from torch import Tensor

HAS_TRITON = find_spec('triton') is not None
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def can_run(x: Tensor) -> bool:
    """Whether the kernels run on this map: on a GPU, or on a CPU in the interpreter.

    `TRITON_INTERPRET=1`, set before the first use, selects the interpreter for tests.
    """
    has_device = x.is_cuda or (x.device.type == 'cpu' and is_interpreted())
    return has_device and x.dtype in DTYPES and HAS_TRITON


def is_interpreted() -> bool:
    return os.environ.get('TRITON_INTERPRET') == '1'


def tf32_is_allowed() -> bool:
    """Whether float32 products may use TF32, in any version of PyTorch."""
    matmul = torch.backends.cuda.matmul
    if hasattr(matmul, 'fp32_precision'):
        return matmul.fp32_precision == 'tf32'
    return matmul.allow_tf32
