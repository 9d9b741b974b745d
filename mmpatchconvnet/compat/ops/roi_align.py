"""RoIAlign by torchvision.

torchvision only averages. With one sample per bin an average is that sample, so max
mode makes every sample a bin of its own and pools each grid of gh x gw samples.

Average mode is equal to mmcv's compiled CPU op to the bit in float32, max mode within
3e-6 of the largest value. They differ on purpose if

- a RoI is not finite: it is pooled to NaN, so that a loss of it is NaN; mmcv's CPU op
  raises, its CUDA op gives NaN or 0;
- a RoI has no area: max mode pools it to 0, mmcv to its initial value, -10000;
- a RoI has a negative size: mmcv's CPU op raises, its CUDA op and this one do not.

On a GPU: the average is torchvision's kernel, which should be as fast. For the maximum
mmcv's op should be faster, as here all samples are stored.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Size, Tensor

from mmpatchconvnet.compat.ops.precision import full_precision
from mmpatchconvnet.compat.ops.repeatable import repeatable

_MAX_POOL = 0  # mmcv's pool_mode; 1 is average

# The registered operators: torchvision's Python roi_align uses torch.compile in
# deterministic mode, and its backward has no Python function.
_tv = torch.ops.torchvision


class Bins(NamedTuple):
    """How a RoI is divided into bins, and bins into samples."""

    height: int
    width: int
    spatial_scale: float
    sampling_ratio: int  # samples per bin and axis; 0: one per cell
    aligned: bool

    def checked(self, rois: Tensor, batch_size: int) -> tuple[Tensor, Tensor]:
        """RoIs at which torchvision's kernels do not crash, and which are finite (K,).

        Raises:
            RuntimeError: On a CPU, an image does not exist, or a RoI has too many
                samples. On a GPU, where this would have to wait, it is not checked.
        """
        finite = rois.isfinite().all(1)
        rois = torch.where(finite[:, None], rois, 0)
        images, starts, ends = rois[:, :1], rois[:, 1:3], rois[:, 3:]
        if self.sampling_ratio <= 0 and self.aligned:
            ends = torch.maximum(starts, ends)  # a negative size has no samples
        if rois.device.type == 'cpu':
            sizes = (ends - starts).clamp(min=0) * self.spatial_scale
            most = (sizes + sizes.new_tensor([self.width, self.height])).prod(1)
            known = (images[:, 0] > -1) & (images[:, 0] < batch_size)
            valid = known & ((most < 2**26) | (self.sampling_ratio > 0))
            if not valid.all():
                raise RuntimeError(
                    f'RoIAlign was given the RoI {rois[~valid][0].tolist()} for '
                    f'{batch_size} images; a RoI is an index of an image and x1, y1, '
                    'x2, y2 of less than 2**26 cells.'
                )
        return torch.cat((images, starts, ends), 1), finite

    def average(self, input: Tensor, rois: Tensor) -> Tensor:
        """(B, C, H, W) and rois (K, 5) to (K, C, h, w)."""
        h, w, scale, ratio, aligned = self
        return _tv.roi_align(input, rois, scale, h, w, ratio, aligned)

    def average_backward(self, grad: Tensor, rois: Tensor, shape: Size) -> Tensor:
        """(K, C, h, w) to the input's ``shape`` (B, C, H, W)."""
        h, w, scale, ratio, aligned = self
        return _tv._roi_align_backward(grad, rois, scale, h, w, *shape, ratio, aligned)

    def per_sample(self, gh: int, gw: int) -> 'Bins':
        return self._replace(
            height=self.height * gh, width=self.width * gw, sampling_ratio=1
        )

    def grids(self, rois: Tensor) -> Iterator[tuple[Tensor, int, int]]:
        """Row numbers of the RoIs that share a grid, and its gh and gw.

        A RoI without area may have no samples; it is skipped.
        """
        if self.sampling_ratio > 0:
            grids = rois.new_full((len(rois), 2), self.sampling_ratio)
        else:
            # The shift cancels out, except for rounding, which can change the grid.
            shift = 0.5 if self.aligned else 0.0
            corners = rois[:, 1:] * self.spatial_scale - shift
            sizes = corners[:, 2:] - corners[:, :2]  # (K, 2): width, height
            sizes = sizes if self.aligned else sizes.clamp(min=1)
            grids = torch.ceil(sizes / sizes.new_tensor([self.width, self.height]))
        shapes, group = grids.unique(dim=0, return_inverse=True)
        for i, (gw, gh) in enumerate(shapes.tolist()):
            if gw > 0 and gh > 0:
                yield (group == i).nonzero()[:, 0], int(gh), int(gw)


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Pool input (B, C, H, W) at rois (K, 5) into output (K, C, h, w).

    In max mode argmax_y and argmax_x, of output's shape, receive the winning sample's
    row and column inside its bin: small integers, exact in half precision too.
    """
    bins = Bins(aligned_height, aligned_width, spatial_scale, sampling_ratio, aligned)
    input, rois = full_precision(input, rois)
    rois, finite = bins.checked(rois, len(input))
    if pool_mode == _MAX_POOL:
        output.zero_()
        for rows, gh, gw in bins.grids(rois):
            samples = bins.per_sample(gh, gw).average(input, rois[rows])
            pooled, winner = F.max_pool2d(samples, (gh, gw), return_indices=True)
            output[rows] = pooled.to(output.dtype)
            argmax_y[rows] = (winner // (bins.width * gw) % gh).to(argmax_y.dtype)
            argmax_x[rows] = (winner % gw).to(argmax_x.dtype)
    else:
        output.copy_(bins.average(input, rois))
    output.masked_fill_(~finite[:, None, None, None], torch.nan)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill grad_input (B, C, H, W) from grad_output (K, C, h, w)."""
    bins = Bins(aligned_height, aligned_width, spatial_scale, sampling_ratio, aligned)
    (total,) = _gradient(
        grad_output, rois, argmax_y, argmax_x, grad_input.shape, pool_mode, bins
    )
    grad_input.copy_(total)


@repeatable
def _gradient(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    shape: Size,
    pool_mode: int,
    bins: Bins,
) -> tuple[Tensor, ...]:
    grad, rois = full_precision(grad_output, rois)
    rois, finite = bins.checked(rois, shape[0])
    grad = grad.masked_fill(~finite[:, None, None, None], 0)
    if pool_mode != _MAX_POOL:
        return (bins.average_backward(grad, rois, shape),)
    total = grad.new_zeros(shape)
    bin_y = torch.arange(bins.height, device=grad.device)[:, None]
    bin_x = torch.arange(bins.width, device=grad.device)
    for rows, gh, gw in bins.grids(rois):
        y = bin_y * gh + argmax_y[rows].long()  # (k, C, h, w): rows of the samples
        x = bin_x * gw + argmax_x[rows].long()
        fine = bins.per_sample(gh, gw)
        # Not `max_unpool2d`, which raises in deterministic mode.
        unpooled = grad.new_zeros(*y.shape[:2], fine.height * fine.width)
        unpooled.scatter_(2, (y * fine.width + x).flatten(2), grad[rows].flatten(2))
        unpooled = unpooled.unflatten(2, (fine.height, fine.width))
        total += fine.average_backward(unpooled, rois[rows], total.shape)
    return (total,)
