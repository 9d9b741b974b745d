"""RoIPool, without torchvision, which rounds RoIs to whole cells.

A bin is the cells that its part of the RoI touches. Its edges are computed as on a GPU,
with one rounding for a product and a sum. mmcv has this op for GPUs only.

On a GPU: mmcv's op should be many times as fast. Here each RoI is a step in Python.
"""

import torch
from torch import Tensor

from mmpatchconvnet.compat.ops.precision import full_precision

_LOWEST = torch.finfo(torch.float32).min  # mmcv's initial maximum, in every dtype


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Maximum of each bin, from input (B, C, H, W) and rois (K, 5).

    Output (K, C, h, w) receives it, 0 for a bin outside of the map; argmax its cell,
    y * W + x, or -1. Both are left as they are at a RoI without area. NaN is ignored.
    """
    input, rois = full_precision(input, rois)
    height, width = input.shape[2:]
    left, top = (rois[:, 1:3] * spatial_scale).unbind(1)
    right, bottom = ((rois[:, 3:] + 1) * spatial_scale).unbind(1)
    rows = _edges(top, bottom, pooled_height, height)
    columns = _edges(left, right, pooled_width, width)
    empty = (right <= left) | (bottom <= top)
    images = rois[:, 0].long().tolist()
    for k in (~empty).nonzero()[:, 0].tolist():
        y, in_y = _cells(rows[k])  # (h, bin's rows)
        x, in_x = _cells(columns[k])  # (w, bin's columns)
        y, in_y = y[:, None, :, None], in_y[:, None, :, None]  # (h, 1, rows, 1)
        x, in_x = x[None, :, None], in_x[None, :, None]  # (1, w, 1, columns)
        # (C, h, w, rows, columns)
        cells = input[images[k]][:, y.clamp(max=height - 1), x.clamp(max=width - 1)]
        cells = torch.where(in_y & in_x & (cells > _LOWEST), cells, _LOWEST).flatten(3)
        first = cells.argmax(3, keepdim=True)
        highest = cells.gather(3, first)
        places = (y * width + x).flatten(2).expand_as(cells).gather(3, first)
        argmax[k] = torch.where(highest > _LOWEST, places, -1)[..., 0].to(argmax.dtype)
        covered = in_y.any(2)[..., 0] & in_x.any(3)[..., 0]  # (h, w)
        output[k] = torch.where(covered, highest[..., 0], 0).to(output.dtype)


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Add grad_output (K, C, h, w) to the cells of grad_input that were the maxima."""
    (grad,) = full_precision(grad_output)
    channels, height, width = grad_input.shape[1:]
    planes = rois[:, :1].long() * channels + torch.arange(channels, device=grad.device)
    places = planes[:, :, None, None] * (height * width) + argmax
    chosen = argmax >= 0
    total = grad.new_zeros(grad_input.numel())
    total.index_add_(0, places[chosen], grad[chosen])
    grad_input += total.view(grad_input.shape)


def _edges(start: Tensor, end: Tensor, bins: int, size: int) -> Tensor:
    """First cell and the one past the last of each bin: (K, bins, 2)."""
    step = (end - start) / bins
    number = torch.arange(bins + 1, device=start.device)
    # The product is exact in double, so this rounds once.
    edges = number * step.double()[:, None] + start.double()[:, None]
    edges = edges.to(start.dtype).nan_to_num(0).clamp(-1, size + 1)
    first, last = edges[:, :-1].floor(), edges[:, 1:].ceil()
    return torch.stack((first, last), 2).clamp(0, size).long()


def _cells(edges: Tensor) -> tuple[Tensor, Tensor]:
    """Cells (bins, n) from edges (bins, 2), n that of the largest, and which count."""
    first, last = edges.unbind(1)
    count = max(int((last - first).max()), 1)
    cells = first[:, None] + torch.arange(count, device=edges.device)
    return cells, cells < last[:, None]
