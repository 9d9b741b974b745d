"""A convolution of bilinearly upsampled maps, computed at the maps' own resolution.

Both steps are linear. So each tap of the kernel is applied to the small map, as a 1x1
convolution, and the results of all taps are upsampled, shifted and added. Upsampling
and shift of one axis are one matrix, so that the two axes are two matrix products:

    conv(up(x))  =  sum over rows i, columns j of the kernel:  R_i (W_ij x) C_j

Zero padding around the large map is exact: a shifted matrix has zeros where the tap
reads beyond the border.

The steps run over bands of rows, forward and backward, so that no intermediate result
is large; the backward pass computes them again.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from math import ceil, floor
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from mmpatchconvnet.models.winograd import conv3x3

# Values of the largest intermediate result, 16 MB in float32: it stays in the cache,
# and the allocator keeps its memory for the next one.
BAND = 2**22


def add_convs_upsampled(
    out: Tensor, maps: Sequence[Tensor], weights: Sequence[Tensor], align_corners: bool
) -> Tensor:
    """Convolve maps as if they were resized to `out`, and add `out`.

    Args:
        out: (B, O, H, W); its memory may be used for the result.
        maps: Each (B, C_i, H_i, W_i).
        weights: Each (O, C_i, k_h, k_w) with odd k_h and k_w.
        align_corners: That of the bilinear interpolation.

    Returns:
        (B, O, H, W).
    """
    size = out.shape[2:]
    for x, weight in zip(maps, weights, strict=True):
        if not is_cheaper(x.shape, weight.shape, size):
            x = resize(x, size, align_corners)
            out = out + conv3x3(x, weight)
        elif torch.compiler.is_compiling():
            out = add_in_graph(out, x, weight, align_corners)
        else:
            out = add_conv_upsampled(out, x, weight, align_corners)
    return out


def add_conv_upsampled(
    out: Tensor, x: Tensor, weight: Tensor, align_corners: bool
) -> Tensor:
    """Convolve a map as if it were resized to `out`, and add `out`.

    Autograd keeps nothing but x and the weight.

    Args:
        out: (B, O, H, W). The result takes its memory if that is channels-last, so it
            must not be needed for the backward pass of what returned it.
        x: (B, C, h, w).
        weight: (O, C, k_h, k_w) with odd k_h and k_w.
        align_corners: That of the bilinear interpolation.

    Returns:
        (B, O, H, W) in channels-last memory.
    """
    device, dtype = out.device.type, out.dtype  # that of autocast, if it is enabled
    out = out.permute(0, 2, 3, 1).contiguous()
    x = x.permute(0, 2, 3, 1).contiguous().to(dtype)
    with torch.autocast(device, enabled=False) if device != 'meta' else nullcontext():
        out = AddConvUpsampled.apply(out, x, weight.to(dtype), align_corners)
    return out.permute(0, 3, 1, 2)


class AddConvUpsampled(Function):
    """`add_conv_upsampled` of out (B, H, W, O) and x (B, h, w, C), added to `out`."""

    @staticmethod
    def forward(
        ctx: Any, out: Tensor, x: Tensor, weight: Tensor, align_corners: bool
    ) -> Tensor:
        ctx.mark_dirty(out)
        ctx.save_for_backward(x, weight)
        ctx.align_corners = align_corners
        width, outs = out.shape[2:]
        taps = taps_of(weight)
        columns = columns_of(x, width, weight, align_corners)
        for images, source, target, rows in bands(x, out, weight, align_corners):
            part = x[images, source]
            b, h, w, _ = part.shape
            # The columns of all taps are upsampled to (b, k_h, h, W, O) ...
            wide = x.new_empty(b, len(taps), h, width, outs)
            for i, tap in enumerate(taps):
                tapped = (part.reshape(b * h * w, -1) @ tap).view(b, h, -1, outs)
                wide[:, i] = columns @ tapped
            # ... then the rows, and added.
            band = out[images, target].flatten(2)
            torch.baddbmm(
                band, rows.expand(b, -1, -1), wide.view(b, -1, width * outs), out=band
            )
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        width, outs = grad.shape[2:]
        taps = taps_of(weight)
        columns = columns_of(x, width, weight, ctx.align_corners).T
        # Many bands are added, for which half precision is too coarse.
        dtype = torch.promote_types(taps.dtype, torch.float32)
        grad_x, grad_taps = torch.zeros_like(x), torch.zeros_like(taps, dtype=dtype)
        for images, source, target, rows in bands(x, grad, weight, ctx.align_corners):
            part = x[images, source]
            b, h, w, channels = part.shape
            wide = rows.T.expand(b, -1, -1) @ grad[images, target].flatten(2)
            wide = wide.view(b, len(taps), h, width, outs)
            grad_part = grad_x[images, source]
            for i, tap in enumerate(taps):
                tapped = (columns @ wide[:, i]).view(b * h * w, -1)
                grad_part += (tapped @ tap.T).view_as(grad_part)
                grad_taps[i] += part.reshape(-1, channels).T @ tapped
        grad_weight = grad_taps.unflatten(2, (-1, outs)).permute(3, 1, 0, 2)
        return grad, grad_x, grad_weight.to(weight.dtype), None


def taps_of(weight: Tensor) -> Tensor:
    """The weight (O, C, k_h, k_w) as a matrix for each of its rows.

    Returns:
        (k_h, C, k_w * O).
    """
    return weight.permute(2, 1, 3, 0).flatten(2)


def columns_of(x: Tensor, width: int, weight: Tensor, align_corners: bool) -> Tensor:
    """What upsamples and shifts the columns of a map (B, h, w, C).

    Returns:
        (W, w * k_w).
    """
    k_w = weight.shape[3]
    columns = shifted_interpolations(x.shape[2], width, k_w, align_corners, x)
    return columns.permute(1, 2, 0).flatten(1)


def bands(
    x: Tensor, out: Tensor, weight: Tensor, align_corners: bool
) -> Iterator[tuple[slice, slice, slice, Tensor]]:
    """Parts of a map whose intermediate results are small.

    Args:
        x: (B, h, w, C).
        out: (B, H, W, O).
        weight: (O, C, k_h, k_w).
        align_corners: That of the bilinear interpolation.

    Yields:
        Slices of the images, of the rows of x and of the rows of `out` that these
        reach, and the matrix (rows of `out`, k_h * rows of x) from one to the other.
    """
    (batch, h, _, _), (_, height, width, outs) = x.shape, out.shape
    k_h = weight.shape[2]
    rows = shifted_interpolations(h, height, k_h, align_corners, x)
    rows = rows.transpose(0, 1)  # (H, k_h, h)
    band = BAND if x.device.type == 'cpu' else 16 * BAND  # GPUs need large products
    per_row = k_h * width * outs
    step = min(max(band // per_row, 1), h)
    images = max(band // (per_row * step), 1)
    for start in range(0, h, step):
        stop = min(start + step, h)
        target = reached(start, stop, h, height, k_h, align_corners)
        part = rows[target, :, start:stop].flatten(1)
        for image in range(0, batch, images):
            yield slice(image, image + images), slice(start, stop), target, part


def reached(
    start: int, stop: int, source: int, target: int, kernel: int, align_corners: bool
) -> slice:
    """The rows of the resized map that some rows of a map reach, or a few more.

    Args:
        start, stop: The rows of the map.
        source, target: Its height, before and after.
        kernel: Height of the kernel that is applied afterwards.
        align_corners: That of the interpolation.
    """
    factor = target / source
    if align_corners:
        factor = (target - 1) / max(source - 1, 1)
    margin = 1 + kernel // 2
    low = 0 if start == 0 else max(floor((start - 1) * factor) - margin, 0)
    high = ceil((stop + 0.5) * factor) + margin
    return slice(low, target if stop == source else min(high, target))


def add_in_graph(out: Tensor, x: Tensor, weight: Tensor, align_corners: bool) -> Tensor:
    """`add_conv_upsampled` for a graph that is compiled or exported for any size."""
    (batch, channels, h, w), (_, outs, height, width) = x.shape, out.shape
    k_h, k_w = weight.shape[2:]
    x = x.permute(0, 2, 3, 1).reshape(batch, h * w, channels)
    rows = shifted_interpolations(h, height, k_h, align_corners, x)  # (k_h, H, h)
    y = None
    for row, tap in zip(rows, taps_of(weight), strict=True):
        row = row.expand(batch, -1, -1)
        tapped = (x @ tap).view(batch, h, w * k_w * outs)
        y = torch.bmm(row, tapped) if y is None else torch.baddbmm(y, row, tapped)
    assert y is not None
    y = y.view(batch * height, w * k_w, outs)
    columns = shifted_interpolations(w, width, k_w, align_corners, x)
    columns = columns.permute(1, 2, 0).flatten(1)  # (W, w * k_w)
    columns = columns.expand(y.shape[0], -1, -1)
    out = out.permute(0, 2, 3, 1).reshape(batch * height, width, outs)
    out = torch.baddbmm(out, columns, y)
    return out.view(batch, height, width, outs).permute(0, 3, 1, 2)


def shifted_interpolations(
    source: int, target: int, kernel_size: int, align_corners: bool, like: Tensor
) -> Tensor:
    """The matrices that resize a vector and shift it by each tap of a kernel.

    Returns:
        (kernel_size, target, source). Tap k at i reads entry `i + k - kernel_size // 2`
        of the resized vector, and zero outside.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    taps = torch.arange(kernel_size, device=like.device)[:, None] - kernel_size // 2
    read = torch.arange(target, device=like.device) + taps  # (kernel_size, target)
    inside = (read >= 0) & (read < target)
    position = read.to(dtype)
    if align_corners:
        position = position.mul((source - 1) / torch.sym_max(target - 1, 1))
    else:
        position = (position + 0.5).mul(source / target) - 0.5
    position = position.clamp(0, source - 1)
    distance = position[..., None] - torch.arange(source, device=like.device)
    weight = (1 - distance.abs()).relu() * inside[..., None]
    return weight.to(like.dtype)


def is_cheaper(
    shape: Sequence[int], weight_shape: Sequence[int], size: Sequence[int]
) -> bool:
    """Whether `add_conv_upsampled` multiplies less often than the plain order.

    The upsampling of the plain order is not counted: its four products for each value
    are few next to those of the convolution.
    """
    # In an exported graph a size that is compared would become fixed.
    # torch 2.5 cannot tell exporting from compiling.
    is_exporting = getattr(torch.compiler, 'is_exporting', torch.compiler.is_compiling)
    if is_exporting() or torch.jit.is_tracing():
        return is_exporting()
    (_, _, h, w), (out, channels, k_h, k_w), (height, width) = shape, weight_shape, size
    taps = out * channels * k_h * k_w
    matrices = out * k_h * h * width * (k_w * w + height)
    return h * w * taps + matrices < height * width * taps


def resize(x: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    return F.interpolate(x, size, mode='bilinear', align_corners=align_corners)
