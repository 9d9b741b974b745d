"""Deformable RoI pooling: average RoIAlign with a shift for each bin.

A bin is a weighted sum of cells, which ``embedding_bag`` adds without storing samples.
mmcv has this op for GPUs only. As there, the gradient of an offset does not know that
the forward pass clamps a sample to the outermost cells' centres.

On a GPU: mmcv's op should be faster. It is one kernel; here the cells and weights of
all bins are tables.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Size, Tensor

from mmpatchconvnet.compat.ops.precision import full_precision
from mmpatchconvnet.compat.ops.roi_align import Bins


def deform_roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Pool input (B, C, H, W) at rois (K, 5) into output (K, C, h, w).

    Offset (K, 2, h, w), x first, shifts a bin by ``gamma`` times it of the RoI's size;
    an empty one shifts none.
    """
    bins = Bins(pooled_height, pooled_width, spatial_scale, sampling_ratio, True)
    input, rois, offset = full_precision(input, rois, offset)
    table = input.permute(0, 2, 3, 1).flatten(0, 2)
    output.zero_()
    for rows, samples in _samples(rois, offset, input.shape, bins, gamma):
        pooled = samples.pool(table, samples.weights)
        output[rows] = pooled.permute(0, 3, 1, 2).to(output.dtype)


def deform_roi_pool_backward(
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Add to grad_input, and to grad_offset unless it is empty."""
    bins = Bins(pooled_height, pooled_width, spatial_scale, sampling_ratio, True)
    grad, input, rois, offset = full_precision(grad_output, input, rois, offset)
    table = input.permute(0, 2, 3, 1).flatten(0, 2).requires_grad_()
    total = torch.zeros_like(table)
    for rows, samples in _samples(rois, offset, input.shape, bins, gamma):
        weights = samples.weights.requires_grad_()
        with torch.enable_grad():
            pooled = samples.pool(table, weights)
        by_table, by_weights = torch.autograd.grad(
            pooled, (table, weights), grad[rows].permute(0, 2, 3, 1)
        )
        total += by_table
        if len(offset):
            by_shift = by_weights[..., None] * samples.slopes  # (k, h, w, n, 2)
            by_offset = by_shift.sum(3).permute(0, 3, 1, 2)
            grad_offset[rows] += by_offset.to(grad_offset.dtype)
    images, _, height, width = input.shape
    grad_input += total.view(images, height, width, -1).permute(0, 3, 1, 2)


class _Samples(NamedTuple):
    """What each bin of k RoIs adds: n cells, four for each of its samples."""

    cells: Tensor  # (k, h, w, n): their rows in a table (B H W, C)
    weights: Tensor  # (k, h, w, n)
    slopes: Tensor  # (k, h, w, n, 2): of the weights, by the two numbers of the offset

    def pool(self, table: Tensor, weights: Tensor) -> Tensor:
        """(k, h, w, C) from the table."""
        pooled = F.embedding_bag(
            self.cells.flatten(0, 2),
            table,
            mode='sum',
            per_sample_weights=weights.flatten(0, 2),
        )
        return pooled.unflatten(0, self.cells.shape[:3])


def _samples(
    rois: Tensor, offset: Tensor, shape: Size, bins: Bins, gamma: float
) -> Iterator[tuple[Tensor, _Samples]]:
    """Row numbers of the RoIs that share a grid, and their samples in maps of shape."""
    height, width = shape[2:]
    corners = rois[:, 1:] * bins.spatial_scale - 0.5  # x1, y1, x2, y2
    sizes = corners[:, 2:] - corners[:, :2]
    starts = corners[:, :2, None, None].expand(-1, -1, bins.height, bins.width)
    if len(offset):
        starts = starts + gamma * sizes[:, :, None, None] * offset  # (K, 2, h, w)
    for chosen, gh, gw in bins.grids(rois):
        x, y = (start[..., None] for start in starts[chosen].unbind(1))
        size_x, size_y = sizes[chosen, :, None].unbind(1)  # (k, 1)
        bin_y, sample_y = _steps(size_y, bins.height, gh)
        bin_x, sample_x = _steps(size_x, bins.width, gw)
        row = _between(y + bin_y[:, :, None, None] + sample_y, height)
        column = _between(x + bin_x[:, None, :, None] + sample_x, width)

        first = rois[chosen, 0].long().view(-1, 1, 1, 1) * (height * width)
        cells = first + _outer(torch.add, row.cells * width, column.cells)
        inside = _outer(torch.logical_and, row.inside, column.inside)
        weights = _outer(torch.mul, row.weights, column.weights)
        by_x = _outer(torch.mul, row.distances, column.signs) * size_x[:, None, None]
        by_y = _outer(torch.mul, row.signs, column.distances) * size_y[:, None, None]
        slopes = gamma * torch.stack((by_x, by_y), -1)
        weights = torch.where(inside, weights / (gh * gw), 0)
        slopes = torch.where(inside[..., None], slopes / (gh * gw), 0)
        yield chosen, _Samples(cells, weights, slopes)


def _steps(size: Tensor, bins: int, samples: int) -> tuple[Tensor, Tensor]:
    """From the start of RoIs of size (k, 1) to each bin, (k, bins), and within it.

    The second is (k, 1, 1, samples).
    """
    step = size / bins
    sample = torch.arange(samples, device=size.device) + 0.5
    return (
        torch.arange(bins, device=size.device) * step,
        (sample * step / samples)[:, None, None],
    )


class _Between(NamedTuple):
    """Two neighbouring cells of each sample on one axis, all (..., 2)."""

    cells: Tensor
    weights: Tensor
    distances: Tensor  # the weights without clamping to the map
    signs: Tensor  # slopes of the weights
    inside: Tensor


def _between(at: Tensor, size: int) -> _Between:
    """Neighbours of coordinates (...) on an axis of this size; NaN counts as inside."""
    low = at.nan_to_num(0).clamp(0, size - 1).long()
    high = (low + 1).clamp(max=size - 1)
    fraction = at.clamp(0, size - 1) - low
    weights = torch.stack((1 - fraction, fraction), -1)
    return _Between(
        torch.stack((low, high), -1),
        weights,
        torch.stack((high - at, at - low), -1),
        weights.new_tensor([-1, 1]).expand_as(weights),
        ~((at < -1) | (at > size))[..., None].expand_as(weights),
    )


def _outer(
    combine: Callable[[Tensor, Tensor], Tensor], rows: Tensor, columns: Tensor
) -> Tensor:
    """(k, h, w, gh, 2) and (k, h, w, gw, 2) to (k, h, w, 4 gh gw)."""
    pairs = combine(rows[..., None, :, None], columns[..., None, :, None, :])
    return pairs.flatten(3)
