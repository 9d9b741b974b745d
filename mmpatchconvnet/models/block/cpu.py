"""Steps of the block on a CPU, each with the library that is fast on this processor.

torch multiplies with MKL (on ARM with another library). It includes a second library,
oneDNN, which adds a GELU or a sum in the same pass. With AVX-512 oneDNN is faster (on
AMD about twice, as MKL uses its AVX2 code there); with AVX2 its GELU after a product is
slow, and MKL with a GELU in place is faster. docs/speed.md has the measurements.

`torch.compile` uses the same operators of oneDNN; torch gives them no public name.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from mmpatchconvnet.compat.processor import product_library

OPS = torch.ops.mkldnn
AVAILABLE = torch.backends.mkldnn.is_available() and all(
    hasattr(OPS, name)
    for name in (
        '_linear_pointwise',
        '_convolution_pointwise',
        '_reorder_convolution_weight',
    )
)
# In place, by oneDNN's names: the exact GELU, and the SiLU.
ACTIVATIONS = {'gelu': torch.ops.aten.gelu_, 'swish': torch.ops.aten.silu_}
PACKED = WeakTensorKeyDictionary()  # weight -> its state, and its packed copy


def can_run(x: Tensor, weight: Tensor) -> bool:
    """Whether both are on a CPU in float32, or in bfloat16 if the CPU supports it.

    False if x needs a gradient, under autocast, and while the model is traced or
    compiled, which accepts these operators only with constant weights.
    """
    return (
        AVAILABLE
        and x.numel() > 0  # oneDNN refuses empty products
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


def uses_onednn(x: Tensor) -> bool:
    """Whether oneDNN multiplies x; in bfloat16 only oneDNN is fast."""
    return x.dtype == torch.bfloat16 or product_library() == 'onednn'


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` of x (..., C)."""
    if uses_onednn(x):
        return OPS._linear_pointwise(x, weight, bias, 'none', [], '')
    return F.linear(x, weight, bias)


def linear_act(x: Tensor, weight: Tensor, bias: Tensor, act: str) -> Tensor:
    """An activation of `ACTIVATIONS` of `F.linear` of x (..., C)."""
    if uses_onednn(x):
        return OPS._linear_pointwise(x, weight, bias, act, [], 'none')
    return ACTIVATIONS[act](F.linear(x, weight, bias))


def linear_sum(x: Tensor, weight: Tensor, bias: Tensor, addend: Tensor) -> Tensor:
    """`F.linear` of x (..., C) plus a tensor of the shape of the result."""
    if uses_onednn(x):
        return OPS._linear_pointwise.binary(x, addend, weight, bias, 'add')
    total = addend + bias
    total.flatten(0, -2).addmm_(x.flatten(0, -2), weight.T)
    return total


def conv_act(x: Tensor, conv: nn.Conv2d, act: str) -> Tensor:
    """An activation of a convolution of a map (B, C, H, W), by oneDNN."""
    return OPS._convolution_pointwise(
        *(x, packed_weight(conv, x), conv.bias),
        *(conv.padding, conv.stride, conv.dilation, conv.groups, act, [], 'none'),
    )


def packed_weight(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """The weight of a convolution in oneDNN's layout for maps of the size of x.

    oneDNN would reorder a plain weight at every call, which takes as long as the
    depthwise convolution of one 14 x 14 map. The layout also works for other sizes.
    A weight that changes in place is packed again, unless it is written through
    `weight.data`, which torch does not count: folded models are not trained.
    """
    weight: Any = conv.weight
    # Changes of inference tensors are not counted, and fake tensors have no memory.
    if weight.is_inference() or type(x) is not Tensor:
        return weight
    state = weight.data_ptr(), weight._version, weight.dtype
    if PACKED.get(weight, (None,))[0] != state:
        how = conv.padding, conv.stride, conv.dilation, conv.groups, x.shape
        PACKED[weight] = state, OPS._reorder_convolution_weight(weight, *how)
    return PACKED[weight][1]
