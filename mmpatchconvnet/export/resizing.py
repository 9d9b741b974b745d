"""Pooling and resizing of maps whose size is known only when the exported file runs.

Each is a product with one weight matrix (out, in) for the rows and one for the columns.
The matrices are computed from the sizes, in the order and precision of torch, so that
the same neighbours get the same weights.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from mmpatchconvnet.models import hmhsa
from mmpatchconvnet.models.pyramids import Pyramid

_interpolate: Any = F.interpolate
_avg_pool: Any = F.avg_pool2d
_max_pool: Any = F.max_pool2d


def pool_average(x: Tensor, size: int | Sequence[int | None]) -> Tensor:
    """`F.adaptive_avg_pool2d`: a map (B, C, H, W) to (B, C, *size)."""
    height, width = _pair(size)
    height = x.shape[2] if height is None else height
    width = x.shape[3] if width is None else width
    if (height, width) == (1, 1):
        return x.mean((2, 3), keepdim=True)
    rows = average_weights(x.shape[2], height, x)
    return _multiply(x, rows, average_weights(x.shape[3], width, x))


def resize_bilinear(
    x: Tensor,
    size: Sequence[int],
    align_corners: bool = False,
    scales: Sequence[float | None] = (None, None),
) -> Tensor:
    """Bilinear `F.interpolate`: a map (B, C, H, W) to (B, C, *size).

    Args:
        x: The map.
        size: Height and width of the result.
        align_corners: The centres of the corner pixels keep their place.
        scales: Factors that torch was given instead of a size, or None.
    """
    rows, columns = (
        bilinear_weights(old, new, x, align_corners, scale)
        for old, new, scale in zip(x.shape[2:], size, scales, strict=True)
    )
    return _multiply(x, rows, columns)


def resize_nearest(
    x: Tensor, size: Sequence[int], scales: Sequence[float | None] = (None, None)
) -> Tensor:
    """Nearest `F.interpolate`: a map (B, C, H, W) to (B, C, *size)."""
    for dim, new, scale in zip((2, 3), size, scales, strict=True):
        old = x.shape[dim]
        step = _step(old, new, x, scale)
        index = (torch.arange(new, device=x.device).float() * step).floor().long()
        x = x.index_select(dim, index.clamp(max=old - 1))
    return x


def pad_to(x: Tensor, height: int, width: int, most: int, value: float = 0) -> Tensor:
    """A map (B, C, H, W) padded at the right and bottom by at most so many pixels."""
    # Padding by a constant and cutting holds for any size; a padding that depends on
    # the size would be traced as zero or not zero.
    return crop(F.pad(x, (0, most, 0, most), value=value), height, width)


def pad_to_windows(x: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """`hmhsa.pad_to_windows` that pads and masks whole windows too."""
    height, width = x.shape[1:3]
    whole = [(size + side - 1) // side * side for size in (height, width)]
    padded = pad_to(hmhsa.as_map(x), whole[0], whole[1], side - 1)
    padded = hmhsa.as_tokens(padded)
    return padded, hmhsa.real_tokens(padded, height, width, side)


def crop(x: Tensor, height: int, width: int) -> Tensor:
    """The upper left part (B, C, height, width) of a map."""
    for dim, size in ((2, height), (3, width)):
        x = x.index_select(dim, torch.arange(size, device=x.device))
    return x


def average_weights(old: int, new: int, like: Tensor) -> Tensor:
    """Weights (new, old): cell i averages from floor(i old/new) to ceil((i+1) old/new).

    Sums are exact integers, as in torch.
    """
    cells = torch.arange(new, device=like.device)[:, None]
    start = cells * old // new
    end = ((cells + 1) * old + (new - 1)) // new
    column = torch.arange(old, device=like.device)
    inside = (column >= start) & (column < end)
    return inside.to(like.dtype) / (end - start).to(like.dtype)


def bilinear_weights(
    old: int,
    new: int,
    like: Tensor,
    align_corners: bool = False,
    scale: float | None = None,
) -> Tensor:
    """Weights (new, old) of the two neighbours of each new pixel."""
    pixels = torch.arange(new, device=like.device).float()
    if align_corners:
        last_old, last_new = _number(old, like) - 1, _number(new, like) - 1
        place = pixels * (last_old / last_new.clamp(min=1))
    else:
        # torch's kernel multiplies and subtracts with one rounding.
        step = _step(old, new, like, scale).double()
        place = ((pixels + 0.5).double() * step - 0.5).float().clamp(min=0)
    low = place.long().clamp(max=old - 1)
    share = (place - low).clamp(max=1)[:, None]  # of the higher neighbour
    high = (low + 1).clamp(max=old - 1)
    column = torch.arange(old, device=like.device)
    is_low = (column == low[:, None]).float()
    is_high = (column == high[:, None]).float()
    return (is_low * (1 - share) + is_high * share).to(like.dtype)


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = 'nearest',
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """`F.interpolate`; nearest and bilinear maps of any size by this module."""
    if input.dim() != 4 or mode not in ('nearest', 'bilinear') or antialias:
        return _interpolate(
            input,
            size,
            scale_factor,
            mode,
            align_corners,
            recompute_scale_factor,
            antialias,
        )
    scales: Sequence[float | None] = (None, None)
    if size is None:
        factors = _pair(scale_factor)
        size = [_scaled(n, f) for n, f in zip(input.shape[2:], factors, strict=True)]
        scales = (None, None) if recompute_scale_factor else factors
    if mode == 'nearest':
        return resize_nearest(input, _pair(size), scales)
    return resize_bilinear(input, _pair(size), bool(align_corners), scales)


def max_pool(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """`F.max_pool2d`; where only the size is rounded up, by padding with -inf."""
    side = height, width = _pair(kernel_size)
    whole = _pair(stride or side) == side
    plain = (_pair(padding), _pair(dilation)) == ((0, 0), (1, 1))
    if ceil_mode and whole and plain and not return_indices:
        # torch asks whether the last window is inside, which it cannot tell.
        padded = F.pad(input, (0, width - 1, 0, height - 1), value=-torch.inf)
        return _max_pool(padded, side)
    return _max_pool(
        input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


def avg_pool(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """`F.avg_pool2d`; where only the size is rounded up, by padding with 0."""
    side = height, width = _pair(kernel_size)
    whole = _pair(stride or side) == side and _pair(padding) == (0, 0)
    if not (ceil_mode and whole and divisor_override is None):
        return _avg_pool(
            input,
            kernel_size,
            stride,
            padding,
            ceil_mode,
            count_include_pad,
            divisor_override,
        )
    means = _avg_pool(F.pad(input, (0, width - 1, 0, height - 1)), side)
    for dim, length in ((2, height), (3, width)):  # what lies in the map
        first = torch.arange(means.shape[dim], device=input.device) * length
        count = (input.shape[dim] - first).clamp(max=length)
        share = (length / count).to(input.dtype)
        means = means * (share[:, None] if dim == 2 else share)
    return means


@contextmanager
def dynamic_resizing() -> Iterator[None]:
    """Within it all models pool, resize and pad by this module.

    mmseg's `resize` turns sizes into plain integers and is imported by name, so it is
    replaced in every module that has it.
    """
    with ExitStack() as stack:
        stack.enter_context(patch.object(F, 'interpolate', interpolate))
        stack.enter_context(patch.object(F, 'adaptive_avg_pool2d', pool_average))
        stack.enter_context(patch.object(F, 'max_pool2d', max_pool))
        stack.enter_context(patch.object(F, 'avg_pool2d', avg_pool))
        stack.enter_context(patch.object(hmhsa, 'pad_to_windows', pad_to_windows))
        stack.enter_context(patch.object(Pyramid, 'pad_to_level', _pad_to_level))
        wrappers = sys.modules.get('mmseg.models.utils.wrappers')
        original = getattr(wrappers, 'resize', None)
        for module in list(sys.modules.values()) if original else ():
            if getattr(module, '__dict__', {}).get('resize') is original:
                stack.enter_context(patch.object(module, 'resize', _mmseg_resize))
        yield


def _pad_to_level(
    self: Pyramid, stem_map: Tensor, level: Tensor, scale: float
) -> Tensor:
    """`Pyramid.pad_to_level` without its check, which would fix the size."""
    return pad_to(stem_map, level.shape[2], level.shape[3], int(scale) - 1)


def _mmseg_resize(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = 'nearest',
    align_corners: bool | None = None,
    warning: bool = True,
) -> Tensor:
    """mmseg's `resize` without its warning about sizes."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def _multiply(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """A map (B, C, H, W) times rows (h, H) and columns (w, W): (B, C, h, w)."""
    return rows @ (x @ columns.T)


def _step(old: int, new: int, like: Tensor, scale: float | None) -> Tensor:
    """Old pixels per new pixel in float32, as in torch."""
    sizes = _number(old, like), _number(new, like)
    step = sizes[0] / sizes[1]
    if scale is None:
        return step
    # Most kernels of torch ignore a factor that leaves the size as it is.
    return torch.where(sizes[0] == sizes[1], step, torch.full_like(step, 1 / scale))


def _number(size: int, like: Tensor) -> Tensor:
    """A size as a float32 tensor, which stays dynamic in an exported graph."""
    return torch.scalar_tensor(size, dtype=torch.float32, device=like.device)


def _scaled(size: int, factor: float) -> int:
    """floor(size * factor)."""
    whole = int(factor)
    return size * whole if whole == factor else torch.sym_int(size * factor)


def _pair(x: Any) -> Sequence[Any]:
    return x if isinstance(x, (tuple, list, torch.Size)) else (x, x)
