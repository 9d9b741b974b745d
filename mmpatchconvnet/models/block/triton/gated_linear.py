"""The last product of a block, fused with GELU and gate before and scale and sum after.

The forward kernel is a matrix product that computes its input while loading it and adds
the residual while storing. In the backward pass the library computes the products. The
steps around them need two kernels, as the gate's gradient is a sum over the whole map.
"""

from functools import partial

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmpatchconvnet.models.block.triton import tf32_is_allowed
from mmpatchconvnet.models.block.triton.activation import gelu, gelu_slope
from mmpatchconvnet.models.block.triton.tuning import autotune, launch

PRODUCT_CONFIGS = [
    triton.Config(dict(BLOCK_M=m, BLOCK_N=n, BLOCK_K=k), num_warps, num_stages)
    for m, n, k, num_warps, num_stages in (
        (64, 128, 32, 4, 3),
        (64, 64, 64, 4, 3),
        (128, 128, 32, 4, 4),
        (128, 128, 64, 8, 3),
        (128, 256, 32, 8, 3),
    )
]
# The pixels per program are not tuned: they determine the number of partial sums.
BLOCK_P = 32
CONFIGS = [
    triton.Config(dict(BLOCK_C=block_c), num_warps=num_warps)
    for block_c, num_warps in ((64, 4), (64, 2), (128, 4), (128, 8))
]


def gated_residual(
    x: Tensor,
    y: Tensor,
    gate: Tensor,
    weight: Tensor,
    bias: Tensor,
    scale: Tensor | None = None,
) -> Tensor:
    """x + scale * linear(gate * gelu(y)).

    Args:
        x: Contiguous map (B, H, W, C).
        y: Contiguous map (B, H, W, C), in float32, float16 or bfloat16.
        gate: (B, C).
        weight: (C, C), in the dtype of y.
        bias: (C,).
        scale: (B, C), or None for 1.

    Returns:
        Map (B, H, W, C) in the dtype to which x and scale are promoted.
    """
    batch, height, width, channels = y.shape
    dtype = x.dtype if scale is None else torch.promote_types(x.dtype, scale.dtype)
    out = torch.empty_like(x, dtype=dtype)
    rows = batch * height * width

    def grid(sizes: dict[str, int]) -> tuple[int]:
        blocks = triton.cdiv(channels, sizes['BLOCK_N'])
        return (triton.cdiv(rows, sizes['BLOCK_M']) * blocks,)

    if not y.is_cuda and y.dtype == torch.bfloat16:
        weight = weight.float()  # Triton's interpreter cannot multiply bfloat16
    launch(
        forward_kernel,
        grid,
        *(x, y, gate, weight.contiguous(), bias, scale, out),
        *(rows, height * width, channels),
        PRECISION='tf32' if tf32_is_allowed() else 'ieee',
    )
    return out


def gate_backward(grad: Tensor, y: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    """Recompute gate * gelu(y), and from its gradient compute that of the gate.

    Args:
        grad: Gradient of gate * gelu(y), a contiguous map (B, H, W, C).
        y: Contiguous map (B, H, W, C).
        gate: (B, C).

    Returns:
        gate * gelu(y) (B, H, W, C) and, in float32, the gate's gradient (B, C).
    """
    batch, height, width, channels = y.shape
    gated = torch.empty_like(y)
    blocks = triton.cdiv(height * width, BLOCK_P)
    sums = y.new_empty(batch, blocks, channels, dtype=torch.float32)
    launch(
        gate_kernel,
        partial(pixel_grid, y),
        *(grad, y, gate, gated, sums),
        *(height * width, channels),
        BLOCK_P=BLOCK_P,
    )
    return gated, sums.sum(1)


def gelu_backward(grad: Tensor, y: Tensor, gate: Tensor, grad_mean: Tensor) -> Tensor:
    """The gradient of y: (grad * gate + grad_mean) * gelu'(y).

    Args:
        grad: Gradient of gate * gelu(y), a contiguous map (B, H, W, C).
        y: Contiguous map (B, H, W, C).
        gate: (B, C).
        grad_mean: Gradient of each pixel of gelu(y) through the gate, (B, C).
    """
    _, height, width, channels = y.shape
    grad_y = torch.empty_like(y)
    launch(
        gelu_kernel,
        partial(pixel_grid, y),
        *(grad, y, gate, grad_mean, grad_y),
        *(height * width, channels),
        BLOCK_P=BLOCK_P,
    )
    return grad_y


def pixel_grid(y: Tensor, sizes: dict[str, int]) -> tuple[int, int, int]:
    """Programs for pixels, channels and images."""
    batch, height, width, channels = y.shape
    pixels = triton.cdiv(height * width, BLOCK_P)
    return pixels, triton.cdiv(channels, sizes['BLOCK_C']), batch


@autotune(*PRODUCT_CONFIGS)
@triton.jit(do_not_specialize=['size'])
def forward_kernel(
    x, y, gate, weight, bias, scale, out, rows, pixels, channels, size,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    # Neighbouring programs share rows of y, which stay in the cache.
    blocks = tl.cdiv(channels, BLOCK_N)
    m = (tl.program_id(0) // blocks * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    n = tl.program_id(0) % blocks * BLOCK_N + tl.arange(0, BLOCK_N)
    line = m[:, None] * channels
    picture = (m // pixels)[:, None] * channels
    in_rows = m[:, None] < rows
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, channels, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        inside = in_rows & (k[None, :] < channels)
        a = gelu(tl.load(y + line + k[None, :], inside, 0.0).to(tl.float32))
        a *= tl.load(gate + picture + k[None, :], inside, 0.0).to(tl.float32)
        b = tl.load(
            weight + n[None, :] * channels + k[:, None],
            (k[:, None] < channels) & (n[None, :] < channels),
            0.0,
        )
        total = tl.dot(a.to(b.dtype), b, total, input_precision=PRECISION)
    inside = in_rows & (n[None, :] < channels)
    total += tl.load(bias + n, n < channels, 0.0).to(tl.float32)[None, :]
    if scale is not None:
        total *= tl.load(scale + picture + n[None, :], inside, 0.0).to(tl.float32)
    total += tl.load(x + line + n[None, :], inside, 0.0).to(tl.float32)
    tl.store(out + line + n[None, :], total.to(out.dtype.element_ty), inside)


@autotune(*CONFIGS)
@triton.jit(do_not_specialize=['size'])
def gate_kernel(
    grad, y, gate, gated, sums, pixels, channels, size,
    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    pixel = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    picture = tl.program_id(2).to(tl.int64)
    exists = channel < channels
    inside = (pixel < pixels)[:, None] & exists[None, :]
    at = (picture * pixels + pixel)[:, None] * channels + channel[None, :]
    open = tl.load(gate + picture * channels + channel, exists, 0.0).to(tl.float32)
    active = gelu(tl.load(y + at, inside, 0.0).to(tl.float32))
    result = (active * open[None, :]).to(gated.dtype.element_ty)
    tl.store(gated + at, result, inside)
    g = tl.load(grad + at, inside, 0.0).to(tl.float32)
    line = picture * tl.num_programs(0) + tl.program_id(0)
    tl.store(sums + line * channels + channel, tl.sum(active * g, 0), exists)


@autotune(*CONFIGS)
@triton.jit(do_not_specialize=['size'])
def gelu_kernel(
    grad, y, gate, grad_mean, grad_y, pixels, channels, size,
    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    pixel = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    picture = tl.program_id(2).to(tl.int64)
    exists = channel < channels
    inside = (pixel < pixels)[:, None] & exists[None, :]
    at = (picture * pixels + pixel)[:, None] * channels + channel[None, :]
    open = tl.load(gate + picture * channels + channel, exists, 0.0).to(tl.float32)
    also = tl.load(grad_mean + picture * channels + channel, exists, 0.0)
    g = tl.load(grad + at, inside, 0.0).to(tl.float32)
    g = g * open[None, :] + also.to(tl.float32)[None, :]
    g *= gelu_slope(tl.load(y + at, inside, 0.0).to(tl.float32))
    tl.store(grad_y + at, g.to(grad_y.dtype.element_ty), inside)
