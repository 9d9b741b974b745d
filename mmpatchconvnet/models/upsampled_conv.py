"""A convolution of bilinearly upsampled maps, computed at the maps' own resolution.

Both steps are linear. So each tap of the kernel is applied to the small map, as a 1x1
convolution, and the results of all taps are upsampled, shifted and added. Upsampling
and shift of one axis are one matrix, so that the two axes are two matrix products:

    conv(up(x))  =  sum over rows i, columns j of the kernel:  R_i (W_ij x) C_j

Zero padding around the large map is exact: a shifted matrix has zeros where the tap
reads beyond the border.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def conv_upsampled(
    maps: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None,
    align_corners: bool,
) -> Tensor:
    """Convolve the concatenation of maps that are resized to the size of the first.

    The same as the plain order, `F.conv2d(torch.cat([resize(x) for x in maps], 1),
    weight, bias, padding='same')`, up to rounding. A map for which the plain order
    needs fewer multiplications takes it (see `is_cheaper`).

    Args:
        maps: Each (B, C_i, H_i, W_i).
        weight: (out_channels, sum of C_i, k_h, k_w) with odd k_h and k_w.
        bias: (out_channels,), or None.
        align_corners: That of `torch.nn.functional.interpolate`, in bilinear mode.

    Returns:
        (B, out_channels, H_0, W_0).
    """
    size = maps[0].shape[2:]
    weights = weight.split([x.shape[1] for x in maps], dim=1)
    direct, direct_weights, own, own_weights = [maps[0]], [weights[0]], [], []
    for x, part in zip(maps[1:], weights[1:], strict=True):
        if is_cheaper(x.shape, part.shape, size):
            own.append(x)
            own_weights.append(part)
        else:
            direct.append(resize(x, size, align_corners))
            direct_weights.append(part)
    out = F.conv2d(
        direct[0] if len(direct) == 1 else torch.cat(direct, 1),
        direct_weights[0] if len(direct) == 1 else torch.cat(direct_weights, 1),
        bias,
        padding=[k // 2 for k in weight.shape[2:]],
    )
    for x, part in zip(own, own_weights, strict=True):
        out = add_conv_upsampled(out, x, part, align_corners)
    return out


def add_conv_upsampled(
    out: Tensor, x: Tensor, weight: Tensor, align_corners: bool
) -> Tensor:
    """Convolve a map as if it were resized to `out`, and add `out`.

    Args:
        out: (B, O, H, W); it is fastest in channels-last memory.
        x: (B, C, h, w).
        weight: (O, C, k_h, k_w) with odd k_h and k_w.
        align_corners: That of the bilinear interpolation.

    Returns:
        (B, O, H, W) in channels-last memory.
    """
    (batch, channels, h, w), (_, outs, height, width) = x.shape, out.shape
    k_h, k_w = weight.shape[2:]
    x = x.permute(0, 2, 3, 1).reshape(batch, h * w, channels)
    rows = shifted_interpolations(h, height, k_h, align_corners, x)  # (k_h, H, h)
    taps = weight.permute(2, 1, 3, 0).flatten(2)  # (k_h, C, k_w * O)
    y = None
    for row, tap in zip(rows, taps, strict=True):
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
    matrices = out * height * w * k_w * (k_h * h + width)
    return h * w * taps + matrices < height * width * taps


def resize(x: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    return F.interpolate(x, size, mode='bilinear', align_corners=align_corners)
