"""Deformable convolution of both versions by torchvision, with mmcv's edges.

torchvision's kernels differ from mmcv's where a point that is sampled lies outside of
the map, on its edge or nowhere:

- at a coordinate of exactly -1, which a new layer with padding has, torchvision passes
  a gradient to the offset, mmcv none;
- an infinite offset makes torchvision's gradient NaN, mmcv's 0;
- at a NaN offset torchvision reads any address; mmcv's forward pass adds nothing.

Therefore each point that is not inside is moved far away, where both give 0.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mmpatchconvnet.compat.ops.precision import full_precision
from mmpatchconvnet.compat.ops.repeatable import repeatable

_FAR = -1e6  # an offset that leaves every map

# The registered operators: the backward pass has no Python function.
_tv = torch.ops.torchvision


class Taps(NamedTuple):
    """Where the taps of a kernel lie on a map; pairs are (height, width)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    offset_groups: int

    def output_size(self, input: Tensor) -> tuple[int, int]:
        """Height and width of the output for input (B, C, H, W)."""
        height, width = (
            (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, padding, dilation in zip(
                input.shape[2:], *self[:4], strict=True
            )
        )
        return height, width

    def channels(self, per_tap: int) -> int:
        """How many channels hold ``per_tap`` numbers for each tap."""
        return self.offset_groups * self.kernel[0] * self.kernel[1] * per_tap

    def numbers(self) -> tuple[int, ...]:
        """As torchvision takes them."""
        sizes = (*self.stride, *self.padding, *self.dilation)
        return (*sizes, self.groups, self.offset_groups)

    def place(self, input: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets with the points outside of the map moved far away, and which are NaN.

        Args:
            input: (B, C, H, W), of which the size is used.
            offset: (B, groups x taps x 2, h, w), row and column of each tap in turn.

        Returns:
            The offsets, and a mask (B, groups x taps, h, w) of the points that are
            neither inside nor outside.
        """
        points = offset.unflatten(1, (self.offset_groups, *self.kernel, 2))
        inside = torch.tensor(True, device=offset.device)
        outside = ~inside
        for axis in (0, 1):  # rows, columns
            out = torch.arange(offset.shape[2 + axis], device=offset.device)
            tap = torch.arange(self.kernel[axis], device=offset.device)
            start = out * self.stride[axis] - self.padding[axis]
            cell = tap[:, None] * self.dilation[axis] + start  # (kernel, h or w)
            # To (kernel rows, kernel columns, h, w), one of each pair being 1.
            shape = [1, 1, 1, 1]
            shape[axis], shape[2 + axis] = cell.shape
            at = points.select(4, axis) + cell.view(shape)
            inside = inside & (at > -1) & (at < input.shape[2 + axis])
            outside = outside | (at <= -1) | (at >= input.shape[2 + axis])
        moved = torch.where(inside.unsqueeze(4), points, _FAR)
        return moved.flatten(1, 4), ~(inside | outside).flatten(1, 3)


def convolve(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    taps: Taps,
) -> Tensor:
    """Deformable convolution, computed in float32 or wider.

    Args:
        input: (B, C, H, W).
        offset: (B, offset groups x taps x 2, h, w), h and w of the output.
        mask: (B, offset groups x taps, h, w), factors of the samples; None for 1.
        weight: (D, C / groups, kernel height, kernel width).
        bias: (D,) or None.

    Returns:
        (B, D, h, w).

    Raises:
        ValueError: ``offset`` has another shape.
    """
    _check_offset(input, offset, taps)
    tensors = full_precision(input, offset, *_filled(input, mask, weight, bias))
    input, offset, factors, weight, bias = tensors
    offset, _ = taps.place(input, offset)
    numbers = (*taps.numbers(), mask is not None)
    return _tv.deform_conv2d(input, weight, offset, factors, bias, *numbers)


@repeatable
def gradients(
    grad_output: Tensor,
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    taps: Taps,
) -> tuple[Tensor, ...]:
    """Gradients of input, offset, mask, weight and bias, in float32 or wider.

    At a NaN offset those of the offset and the mask are NaN, so that it is not hidden.
    Those of a mask or bias that is None have no meaning.

    Args:
        grad_output: (B, D, h, w). The others are those of `convolve`.
    """
    _check_offset(input, offset, taps)
    tensors = full_precision(
        grad_output, input, offset, *_filled(input, mask, weight, bias)
    )
    grad_output, input, offset, factors, weight, bias = tensors
    offset, nan = taps.place(input, offset)
    numbers = (*taps.numbers(), mask is not None)
    by_input, by_weight, by_offset, by_mask, by_bias = _tv._deform_conv2d_backward(
        grad_output, input, weight, offset, factors, bias, *numbers
    )
    by_offset = by_offset.masked_fill(nan.repeat_interleave(2, dim=1), torch.nan)
    if mask is not None:
        by_mask = by_mask.masked_fill(nan, torch.nan)
    return by_input, by_offset, by_mask, by_weight, by_bias


def _check_offset(input: Tensor, offset: Tensor, taps: Taps) -> None:
    expected = (len(input), taps.channels(2), *taps.output_size(input))
    if offset.shape != expected:
        raise ValueError(
            f'the offsets of a deformable convolution have the shape '
            f'{tuple(offset.shape)}; this input and kernel need {expected}.'
        )


def _filled(
    input: Tensor, mask: Tensor | None, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Mask, weight and bias; torchvision wants tensors and does not read this mask."""
    if mask is None:
        mask = input.new_zeros(len(input), 1)
    if bias is None:
        bias = input.new_zeros(len(weight))
    return mask, weight, bias
