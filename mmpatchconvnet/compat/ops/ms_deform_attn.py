"""Multi-scale deformable attention by ``grid_sample``, a level at a time.

mmcv calls this op on a GPU only, and a function in plain torch on a CPU. They are equal
up to rounding. As in mmcv's CUDA op, and unlike in that function, a point at a
coordinate of -1 cells has no gradient, and one at NaN adds nothing.

On a GPU: mmcv's op should be faster and need less memory. It is one kernel; here the
samples of one level at a time are stored, and computed again in the backward pass.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from mmpatchconvnet.compat.ops.precision import full_precision
from mmpatchconvnet.compat.ops.repeatable import repeatable

_OUTSIDE = -10.0  # a coordinate of grid_sample, where -1 to 1 is the map


def ms_deform_attn_forward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_loc: Tensor,
    attn_weight: Tensor,
    im2col_step: int,
) -> Tensor:
    """Weighted sum of samples from several maps.

    Args:
        value: (B, N, heads, D), the cells of all maps.
        spatial_shapes: (levels, 2), height and width of each map.
        level_start_index: (levels,), where each map begins among the N cells.
        sampling_loc: (B, Q, heads, levels, P, 2), x and y from 0 to 1.
        attn_weight: (B, Q, heads, levels, P).
        im2col_step: Not used; how many images mmcv computes at a time.

    Returns:
        (B, Q, heads x D) of value's dtype.
    """
    tensors = full_precision(value, sampling_loc, attn_weight)
    output = tensors[0].new_zeros(*sampling_loc.shape[:3], value.shape[3])
    for level, size, cells in _levels(spatial_shapes, level_start_index):
        output += _attend(*_at(level, cells, *tensors), size)
    return output.flatten(2).to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_loc: Tensor,
    attn_weight: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Fill the gradients of the three tensors from grad_output (B, Q, heads x D)."""
    by_value, by_location, by_weight = _gradients(
        grad_output, value, sampling_loc, attn_weight, spatial_shapes, level_start_index
    )
    grad_value.copy_(by_value)
    grad_sampling_loc.copy_(by_location)
    grad_attn_weight.copy_(by_weight)


@repeatable
def _gradients(
    grad_output: Tensor,
    value: Tensor,
    locations: Tensor,
    weights: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
) -> tuple[Tensor, ...]:
    grad_output, *tensors = full_precision(grad_output, value, locations, weights)
    grad_output = grad_output.unflatten(2, value.shape[2:])
    totals = [torch.zeros_like(tensor) for tensor in tensors]
    for level, size, cells in _levels(spatial_shapes, level_start_index):
        inputs = _at(level, cells, *tensors)
        for part in inputs:
            part.requires_grad_()
        with torch.enable_grad():
            output = _attend(*inputs, size)
        parts = torch.autograd.grad(output, inputs, grad_output)
        for total, part in zip(_at(level, cells, *totals), parts, strict=True):
            total += part
    return tuple(totals)


def _levels(
    spatial_shapes: Tensor, level_start_index: Tensor
) -> Iterator[tuple[int, tuple[int, int], slice]]:
    """Number, size (h, w) and cells of each level."""
    starts = level_start_index.tolist()
    for level, (height, width) in enumerate(spatial_shapes.tolist()):
        first = starts[level]
        yield level, (height, width), slice(first, first + height * width)


def _at(
    level: int, cells: slice, value: Tensor, locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The parts of a level, without gradient."""
    parts = value[:, cells], locations[:, :, :, level], weights[:, :, :, level]
    return parts[0].detach(), parts[1].detach(), parts[2].detach()


def _attend(
    value: Tensor, locations: Tensor, weights: Tensor, size: tuple[int, int]
) -> Tensor:
    """(B, hw, heads, D), (B, Q, heads, P, 2), (B, Q, heads, P) to (B, Q, heads, D)."""
    maps = value.permute(0, 2, 3, 1).flatten(0, 1).unflatten(2, size)
    points = locations.transpose(1, 2).flatten(0, 1)  # (B heads, Q, P, 2)
    width_height = points.new_tensor(size[::-1])
    at = points * width_height - 0.5
    inside = ((at > -1) & (at < width_height)).all(-1, keepdim=True)
    grid = torch.where(inside, 2 * points - 1, _OUTSIDE)
    samples = F.grid_sample(maps, grid, align_corners=False)  # (B heads, D, Q, P)
    factors = weights.transpose(1, 2).flatten(0, 1)[:, None]  # (B heads, 1, Q, P)
    output = (samples * factors).sum(-1)  # (B heads, D, Q)
    return output.unflatten(0, (len(value), value.shape[2])).permute(0, 3, 1, 2)
