"""Deformable convolution by torchvision, version 2: offsets and factors.

Equal to the compiled op to 1e-6 relative in float32, also where offset and mask are of
another map: DyHead hands over those of a larger one, and mmcv reads the first numbers
of each image in memory order.

On a GPU: torchvision's kernels are nearly those of mmcv. With mixed precision mmcv's op
should be faster, as here it is computed in float32.
"""

from math import prod

import torch.nn.functional as F
from torch import Tensor

from mmpatchconvnet.compat.ops.deformable import Taps, convolve, gradients


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Fill output (B, D, h, w) from input (B, C, H, W), offset and mask.

    Offset is (B, deformable_group x kernel_h x kernel_w x 2, h, w), mask half of it,
    weight (D, C / group, kernel_h, kernel_w), bias (D,), empty without ``with_bias``.
    ``ones`` and ``columns`` are scratch memory of mmcv and not used.

    Raises:
        ValueError: Offset or mask have fewer numbers than the output needs.
    """
    taps = Taps(
        (kernel_h, kernel_w),
        (stride_h, stride_w),
        (pad_h, pad_w),
        (dilation_h, dilation_w),
        group,
        deformable_group,
    )
    size = taps.output_size(input)
    offset = _first(offset, (taps.channels(2), *size))
    mask = _first(mask, (taps.channels(1), *size))
    bias_or_none = bias if with_bias else None
    output.copy_(convolve(input, offset, mask, weight, bias_or_none, taps))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Add to the gradients of input, weight and bias, fill those of offset and mask."""
    taps = Taps(
        (kernel_h, kernel_w),
        (stride_h, stride_w),
        (pad_h, pad_w),
        (dilation_h, dilation_w),
        group,
        deformable_group,
    )
    size = taps.output_size(input)
    offset = _first(offset, (taps.channels(2), *size))
    mask = _first(mask, (taps.channels(1), *size))
    bias_or_none = bias if with_bias else None
    by_input, by_offset, by_mask, by_weight, by_bias = gradients(
        grad_output, input, offset, mask, weight, bias_or_none, taps
    )
    grad_input += by_input
    grad_weight += by_weight
    if with_bias:
        grad_bias += by_bias
    _fill_first(grad_offset, by_offset)
    _fill_first(grad_mask, by_mask)


def _first(values: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """The first numbers of each image of values (B, ...), in this shape."""
    flat = values.flatten(1)
    if flat.shape[1] < prod(shape):
        raise ValueError(
            f'offset or mask of a deformable convolution have the shape '
            f'{tuple(values.shape[1:])} for each image; the output needs {shape}.'
        )
    return flat[:, : prod(shape)].view(-1, *shape)


def _fill_first(buffer: Tensor, values: Tensor) -> None:
    """The inverse of `_first`; the rest becomes 0."""
    flat = values.flatten(1)
    rest = buffer[0].numel() - flat.shape[1] if len(buffer) else 0
    buffer.copy_(F.pad(flat, (0, rest)).view(buffer.shape))
