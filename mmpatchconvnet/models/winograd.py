"""A 3x3 convolution with a quarter of the multiplications, for float32 on a CPU.

Winograd's method (`Fast Algorithms for Convolutional Neural Networks
<https://arxiv.org/abs/1509.09308>`_) computes 4 x 4 results at once, from the 6 x 6
values that they read: values and kernel are each transformed to 36 numbers, multiplied
one by one and added over the channels, and the sums transformed back. Over many places
and channels this is 36 products of matrices, and each transform is one more.

The method evaluates polynomials at points. With those here the relative error in
float32 is 1.1e-6 to 1.3e-6 for 128 to 512 channels, with the usual ones, 0, 1, -1, 2
and -2, 2.4e-6 to 2.8e-6; oneDNN's direct convolution has 0.6e-6 to 0.7e-6. A value that
is not finite spreads to all results of its tiles. `torch.func` cannot differentiate it.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

POINTS = (0, 3 / 4, -3 / 4, 3 / 2, -3 / 2)  # and infinity
OUT, IN = 4, 6  # side of a tile of results, and of what it reads
BAND = 2**21  # values of the largest intermediate result, so that it stays in the cache


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.conv2d(x, weight, bias, padding='same')`, the fast way.

    That is Winograd's method where `is_fast`, and the direct one elsewhere.

    Args:
        x: (B, C, H, W); it is fastest in channels-last memory.
        weight: (O, C, k_h, k_w).
        bias: (O,), or None.

    Returns:
        (B, O, H, W).
    """
    if not is_fast(x, weight):
        return F.conv2d(x, weight, bias, padding=[k // 2 for k in weight.shape[2:]])
    tokens = x.permute(0, 2, 3, 1)
    out = WinogradGradient.apply(tokens, weight)
    # After the function has saved its inputs: recomputing them for the backward pass
    # ends at that point, so that these products are not computed twice.
    with torch.no_grad():
        winograd(tokens, weight, out)
    if bias is not None:
        out += bias
    return out.permute(0, 3, 1, 2)


def is_fast(x: Tensor, weight: Tensor) -> bool:
    """Whether `conv3x3` takes Winograd's method.

    It does not pay for 64 channels, or for pictures of 64 tiles: the transforms then
    take the time that the products save.
    """
    return (
        not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and x.device.type == 'cpu'
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled('cpu')
        and weight.shape[2:] == (3, 3)
        and min(weight.shape[:2]) >= 128
        and min(x.shape[2:]) >= 4 * OUT  # a narrow map leaves tiles half empty
        and x.shape[2] * x.shape[3] >= 128 * OUT**2
    )


class WinogradGradient(Function):
    """Memory for the convolution (B, H, W, O) of x (B, H, W, C), with its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x.new_empty(*x.shape[:3], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.empty_like(x, memory_format=torch.contiguous_format)
            winograd(grad, weight.flip(2, 3).transpose(0, 1), grad_x)
        if ctx.needs_input_grad[1]:
            grad_weight = weight_gradient(x, grad)
        return grad_x, grad_weight


def winograd(x: Tensor, weight: Tensor, out: Tensor) -> None:
    """Write the convolution of x (B, H, W, C) with a weight (O, C, 3, 3).

    Args:
        out: (B, H, W, O).
    """
    of_values, of_weight, of_sums = transforms(x.dtype)
    weight = weight.permute(2, 3, 1, 0)  # (3, 3, C, O)
    weight = (of_weight @ weight.flatten(2).flatten(0, 1)).view(
        IN**2, *weight.shape[2:]
    )
    for image, rows, values in tiles(x, out.shape[3]):
        values = (of_values @ values.flatten(1)).view_as(values)
        sums = torch.bmm(values, weight).flatten(1)
        results = (of_sums @ sums).view(OUT, OUT, len(rows), -1, out.shape[3])
        results = results.permute(2, 0, 3, 1, 4).flatten(2, 3).flatten(0, 1)
        part = out[image, OUT * rows.start : OUT * rows.stop]
        part.copy_(results[: part.shape[0], : part.shape[1]])


def weight_gradient(x: Tensor, grad: Tensor) -> Tensor:
    """The gradient of the weight, from that of the results (B, H, W, O).

    Returns:
        (O, C, 3, 3).
    """
    of_values, of_weight, of_sums = transforms(x.dtype)
    channels, outs = x.shape[3], grad.shape[3]
    total = x.new_zeros(IN**2, channels, outs)
    for image, rows, values in tiles(x, outs):
        values = (of_values @ values.flatten(1)).view_as(values)
        part = grad[image, OUT * rows.start : OUT * rows.stop]
        below, right = OUT * len(rows) - len(part), -part.shape[1] % OUT
        part = F.pad(part, (0, 0, 0, right, 0, below))
        part = part.unflatten(1, (-1, OUT)).unflatten(0, (-1, OUT))
        part = part.permute(1, 3, 0, 2, 4).reshape(OUT**2, -1)
        sums = (of_sums.T @ part).view(IN**2, -1, outs)
        total.baddbmm_(values.transpose(1, 2), sums)
    weight = (of_weight.T @ total.flatten(1)).view(3, 3, channels, outs)
    return weight.permute(3, 2, 0, 1)


def tiles(x: Tensor, outs: int) -> Iterator[tuple[int, range, Tensor]]:
    """What the tiles of a map (B, H, W, C) read, in bands.

    Yields:
        An image, rows of tiles, and the values (36, tiles, C) of the tiles in them.
    """
    batch, height, width, channels = x.shape
    down, across = -(-height // OUT), -(-width // OUT)
    step = max(BAND // (IN**2 * across * max(channels, outs)), 1)
    for image in range(batch):
        for start in range(0, down, step):
            rows = range(start, min(start + step, down))
            top, bottom = OUT * start - 1, OUT * rows.stop + 1
            low, high = max(top, 0), min(bottom, height)
            padded = x.new_zeros(bottom - top, OUT * across + 2, channels)
            padded[low - top : high - top, 1 : width + 1] = x[image, low:high]
            values = padded.unfold(0, IN, OUT).unfold(1, IN, OUT)
            yield (
                image,
                rows,
                values.permute(3, 4, 0, 1, 2).reshape(IN**2, -1, channels),
            )


def transforms(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """The transforms of the values, of the kernel, and of the sums back to results.

    Returns:
        (36, 36), (36, 9) and (16, 36).
    """
    points = torch.tensor(POINTS, dtype=torch.float64, device='cpu')

    def powers(count: int) -> Tensor:
        """Of a polynomial with `count` coefficients, its values at all points."""
        degrees = torch.arange(count, device='cpu')
        at_infinity = (degrees == count - 1).to(points)
        return torch.cat([points[:, None] ** degrees, at_infinity[None]])

    of_values = torch.linalg.inv(powers(IN)).T
    # Numbers that are exact in float32.
    scale = torch.cat([of_values[:-1, -2], points.new_ones(1)])[:, None]
    of_values, of_kernel, of_sums = of_values / scale, powers(3) * scale, powers(OUT).T
    first, second, third = (
        torch.kron(matrix, matrix).to(dtype)
        for matrix in (of_values, of_kernel, of_sums)
    )
    return first, second, third
