"""Products and convolutions on a CPU through oneDNN, with what follows in one pass.

torch asks MKL for products in float32, which takes about twice the time on AMD
processors with AVX-512, and takes another pass for each GELU and sum. `torch.compile`
uses the same operators, which are torch's own but have no public name.
"""

import torch
from torch import Tensor, nn

OPS = torch.ops.mkldnn
AVAILABLE = torch.backends.mkldnn.is_available() and all(
    hasattr(OPS, name) for name in ('_linear_pointwise', '_convolution_pointwise')
)


def can_run(x: Tensor, weight: Tensor) -> bool:
    """Whether both are on a CPU in float32 or, where it has it, bfloat16.

    Not where gradients are asked for, nor where autocast is to choose the dtype, nor
    in tracing and compiling, which takes these operators with constant weights only.
    """
    return (
        AVAILABLE
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and x.device.type == 'cpu'
        and x.dtype == weight.dtype
        and (
            (x.dtype == torch.float32 and not torch.is_autocast_enabled('cpu'))
            or (x.dtype == torch.bfloat16 and OPS._is_mkldnn_bf16_supported())
        )
        and not (torch.is_grad_enabled() and x.requires_grad)
    )


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False
) -> Tensor:
    """`F.linear`, and the exact GELU if wanted."""
    activation, algorithm = ('gelu', 'none') if gelu else ('none', '')
    return OPS._linear_pointwise(x, weight, bias, activation, [], algorithm)


def linear_sum(x: Tensor, weight: Tensor, bias: Tensor, addend: Tensor) -> Tensor:
    """`F.linear` plus a tensor of the same shape as the answer."""
    return OPS._linear_pointwise.binary(x, addend, weight, bias, 'add')


def conv_gelu(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """The exact GELU of a convolution of a map (B, C, H, W)."""
    return OPS._convolution_pointwise(
        *(x, conv.weight, conv.bias, conv.padding, conv.stride, conv.dilation),
        *(conv.groups, 'gelu', [], 'none'),
    )
