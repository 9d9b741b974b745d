"""GELU, depthwise 3x3 convolution, GELU and mean over the map, in one pass.

A program goes down a strip of the map. It reads each row once and adds it to the three
rows of the result that depend on it. The last GELU is not stored, only its sum over the
strip, which squeeze-and-excite needs. Readers of the result recompute the GELU, which
costs less than a stored map.
"""

from functools import partial

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmpatchconvnet.models.block.triton.activation import gelu, gelu_slope
from mmpatchconvnet.models.block.triton.tuning import autotune, launch

# Strips are not tuned: they determine the number of partial sums.
STRIP = dict(ROWS=8, BLOCK_W=8)
CONFIGS = [
    triton.Config(dict(BLOCK_C=block_c), num_warps=num_warps)
    for block_c, num_warps in ((64, 4), (32, 2), (64, 2), (128, 4), (128, 8))
]


def gelu_depthwise(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Depthwise convolution of the GELU of a map, and the mean of the result's GELU.

    Args:
        x: Contiguous map (B, H, W, C) in float32, float16 or bfloat16, any H and W.
        weight: Kernels (C, 9).
        bias: (C,).

    Returns:
        The map y (B, H, W, C), and the mean over H and W of gelu(y) as float32 (B, C).
    """
    batch, height, width, channels = x.shape
    y = torch.empty_like(x)
    sums = x.new_empty(batch, strips_of(x), channels, dtype=torch.float32)
    launch(
        forward_kernel,
        partial(grid_of, x),
        *(x, weight.contiguous(), bias, y, sums),
        *(height, width, channels),
        **STRIP,
    )
    return y, sums.sum(1) / (height * width)


def gelu_depthwise_backward(
    grad: Tensor, x: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias from the gradient of y, a map like x."""
    batch, height, width, channels = x.shape
    grad_x = torch.empty_like(x)
    parts = x.new_empty(batch, strips_of(x), 10, channels, dtype=torch.float32)
    launch(
        backward_kernel,
        partial(grid_of, x),
        *(grad.contiguous(), x, weight.contiguous(), grad_x, parts),
        *(height, width, channels),
        **STRIP,
    )
    *of_weight, of_bias = parts.sum((0, 1))
    return grad_x, torch.stack(of_weight, 1).to(weight.dtype), of_bias.to(weight.dtype)


def strips_of(x: Tensor) -> int:
    """Number of strips of a map (B, H, W, C)."""
    _, height, width, _ = x.shape
    return triton.cdiv(height, STRIP['ROWS']) * triton.cdiv(width, STRIP['BLOCK_W'])


def grid_of(x: Tensor, sizes: dict[str, int]) -> tuple[int, int, int]:
    """Programs for strips, channels and images."""
    return strips_of(x), triton.cdiv(x.shape[-1], sizes['BLOCK_C']), len(x)


@autotune(*CONFIGS)
@triton.jit(do_not_specialize=['size'])
def forward_kernel(
    x, weight, bias, y, sums, height, width, channels, size,
    ROWS: tl.constexpr, BLOCK_W: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    strips_across = tl.cdiv(width, BLOCK_W)
    first = tl.program_id(0) // strips_across * ROWS
    column = tl.program_id(0) % strips_across * BLOCK_W + tl.arange(0, BLOCK_W)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    picture = tl.program_id(2).to(tl.int64)
    exists = channel < channels
    w = weight + channel * 9
    w0 = tl.load(w, exists, 0.0).to(tl.float32)
    w1 = tl.load(w + 1, exists, 0.0).to(tl.float32)
    w2 = tl.load(w + 2, exists, 0.0).to(tl.float32)
    w3 = tl.load(w + 3, exists, 0.0).to(tl.float32)
    w4 = tl.load(w + 4, exists, 0.0).to(tl.float32)
    w5 = tl.load(w + 5, exists, 0.0).to(tl.float32)
    w6 = tl.load(w + 6, exists, 0.0).to(tl.float32)
    w7 = tl.load(w + 7, exists, 0.0).to(tl.float32)
    w8 = tl.load(w + 8, exists, 0.0).to(tl.float32)
    shift = tl.load(bias + channel, exists, 0.0).to(tl.float32)
    start = tl.zeros((BLOCK_W, BLOCK_C), tl.float32) + shift[None, :]
    total = tl.zeros((BLOCK_C,), tl.float32)
    above, here, below = start, start, start  # rows of y around the row that is read
    for i in range(ROWS + 2):
        row = first + i - 1
        line = x + ((picture * height + row) * width * channels + channel)[None, :]
        seen = ((row >= 0) & (row < height)) & exists[None, :]
        at = column[:, None]
        left = tl.load(line + (at - 1) * channels, seen & (at > 0) & (at <= width), 0.0)
        middle = tl.load(line + at * channels, seen & (at < width), 0.0)
        right = tl.load(line + (at + 1) * channels, seen & (at + 1 < width), 0.0)
        left = gelu(left.to(tl.float32))  # 0 outside the map
        middle = gelu(middle.to(tl.float32))
        right = gelu(right.to(tl.float32))
        above += left * w6[None, :] + middle * w7[None, :] + right * w8[None, :]
        here += left * w3[None, :] + middle * w4[None, :] + right * w5[None, :]
        below += left * w0[None, :] + middle * w1[None, :] + right * w2[None, :]
        done = ((i >= 2) & (row - 1 < height)) & (at < width) & exists[None, :]
        rounded = above.to(y.dtype.element_ty)
        out = y + ((picture * height + row - 1) * width * channels + channel)[None, :]
        tl.store(out + at * channels, rounded, done)
        total += tl.sum(tl.where(done, gelu(rounded.to(tl.float32)), 0.0), 0)
        above, here, below = here, below, start
    line = picture * tl.num_programs(0) + tl.program_id(0)
    tl.store(sums + line * channels + channel, total, exists)


@autotune(*CONFIGS)
@triton.jit(do_not_specialize=['size'])
def backward_kernel(
    grad, x, weight, grad_x, parts, height, width, channels, size,
    ROWS: tl.constexpr, BLOCK_W: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    strips_across = tl.cdiv(width, BLOCK_W)
    first = tl.program_id(0) // strips_across * ROWS
    column = tl.program_id(0) % strips_across * BLOCK_W + tl.arange(0, BLOCK_W)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    picture = tl.program_id(2).to(tl.int64)
    exists = channel < channels
    at = column[:, None]
    taps = tl.arange(0, 16)  # nine of the weight, then the bias
    sums = tl.zeros((16, BLOCK_C), tl.float32)
    for i in range(ROWS):
        row = first + i
        line = (picture * height + row) * width * channels + channel
        inside = (row < height) & (at < width) & exists[None, :]
        z = tl.load(x + line[None, :] + at * channels, inside, 0.0).to(tl.float32)
        active = gelu(z)
        total = tl.zeros((BLOCK_W, BLOCK_C), tl.float32)
        for tap in tl.static_range(9):  # x contributes to y[to_row, to] by this tap
            to_row = row - (tap // 3 - 1)
            to = at - (tap % 3 - 1)
            there = (to_row >= 0) & (to_row < height) & (to >= 0) & (to < width)
            line = (picture * height + to_row) * width * channels + channel
            g = tl.load(
                grad + line[None, :] + to * channels, there & exists[None, :], 0.0
            ).to(tl.float32)
            w = tl.load(weight + channel * 9 + tap, exists, 0.0).to(tl.float32)
            total += w[None, :] * g
            of_tap = tl.sum(active * g, 0)
            sums += tl.where(taps[:, None] == tap, of_tap[None, :], 0.0)
            if tap == 4:
                of_bias = tl.sum(tl.where(inside, g, 0.0), 0)
                sums += tl.where(taps[:, None] == 9, of_bias[None, :], 0.0)
        line = (picture * height + row) * width * channels + channel
        out = (total * gelu_slope(z)).to(grad_x.dtype.element_ty)
        tl.store(grad_x + line[None, :] + at * channels, out, inside)
    line = (picture * tl.num_programs(0) + tl.program_id(0)) * 10
    tl.store(
        parts + (line + taps[:, None]) * channels + channel[None, :],
        sums,
        (taps[:, None] < 10) & exists[None, :],
    )
