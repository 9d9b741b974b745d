"""CARAFE: each fine position is a weighted sum of its coarse position's neighbours.

mmcv has two implementations of the same sum, whose backward passes differ in what they
read: the one called naive is handed the features, the other one what forward kept in
``rfeatures``. Neighbours outside the map are left out, whatever their weights are.
Sums are in float32 or wider; mmcv's have the dtype of the features.

On a GPU: mmcv's op should be several times as fast. It is one kernel; here each
neighbour is a pass over the fine map.
"""

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from mmpatchconvnet.compat.ops.precision import full_precision


class _Tap(NamedTuple):
    """Views of one neighbour of every position that has it: (B, groups, ...)."""

    features: Tensor  # (.., C / groups, H', W'), the neighbours
    masks: Tensor  # (.., 1, H', scale, W', scale), their weights
    fine: Tensor  # (.., C / groups, H', scale, W', scale), at the positions


def _taps(
    features: Tensor, masks: Tensor, fine: Tensor, kernel: int, groups: int, scale: int
) -> Iterator[_Tap]:
    """Features (B, C, H, W), masks (B, groups * kernel^2, H * scale, W * scale).

    ``fine`` is (B, C, H * scale, W * scale). All are contiguous.
    """
    batch, channels, height, width = features.shape
    cells = height, scale, width, scale
    coarse = features.view(batch, groups, channels // groups, height, width)
    weights = masks.view(batch, groups, kernel, kernel, *cells)
    sums = fine.view(batch, groups, channels // groups, *cells)
    for row in range(kernel):
        there_y, here_y = _shifted(height, row - kernel // 2)
        for column in range(kernel):
            there_x, here_x = _shifted(width, column - kernel // 2)
            yield _Tap(
                coarse[..., there_y, there_x],
                weights[:, :, row, column, None, here_y, :, here_x],
                sums[:, :, :, here_y, :, here_x],
            )


def _shifted(size: int, shift: int) -> tuple[slice, slice]:
    """Neighbours at a shift, and the positions that have them."""
    start, stop = max(0, -shift), max(0, size - max(0, shift))
    stop = max(start, stop)
    return slice(start + shift, stop + shift), slice(start, stop)


def carafe_naive_forward(
    features: Tensor,
    masks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Fill output (B, C, H * scale, W * scale) from features (B, C, H, W) and masks.

    Masks are (B, groups * kernel^2, H * scale, W * scale), where ``group_size`` is the
    number of groups of channels that share a mask.
    """
    maps, weights = full_precision(features, masks)
    total = maps.new_zeros(output.shape)
    size = kernel_size, group_size, scale_factor
    for tap in _taps(maps.contiguous(), weights.contiguous(), total, *size):
        tap.fine.add_(tap.features[..., None, :, None] * tap.masks)
    output.copy_(total)


def carafe_naive_backward(
    top_grad: Tensor,
    features: Tensor,
    masks: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Fill bottom_grad and mask_grad, of the shapes of features and masks."""
    maps, weights = full_precision(features, masks)
    fine = top_grad.to(maps.dtype).contiguous()
    maps_grad, weights_grad = maps.new_zeros(maps.shape), maps.new_zeros(weights.shape)
    size = kernel_size, group_size, scale_factor
    values = _taps(maps.contiguous(), weights.contiguous(), fine, *size)
    for tap, grad in zip(
        values, _taps(maps_grad, weights_grad, fine, *size), strict=True
    ):
        grad.features.add_((tap.fine * tap.masks).sum((-3, -1)))
        products = tap.fine * tap.features[..., None, :, None]
        grad.masks.copy_(products.sum(2, keepdim=True))
    bottom_grad.copy_(maps_grad)
    mask_grad.copy_(weights_grad)


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Like `carafe_naive_forward`; also keep the features for the backward pass."""
    rfeatures.copy_(features)
    size = kernel_size, group_size, scale_factor
    carafe_naive_forward(features, masks, output, *size)


def carafe_backward(
    top_grad: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rtop_grad: Tensor,
    rbottom_grad_hs: Tensor,
    rbottom_grad: Tensor,
    rmask_grad: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Like `carafe_naive_backward`; the four buffers before bottom_grad stay unused."""
    size = kernel_size, group_size, scale_factor
    carafe_naive_backward(top_grad, rfeatures, masks, bottom_grad, mask_grad, *size)
