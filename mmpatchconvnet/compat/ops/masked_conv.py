"""Convolution at chosen positions: gather their windows, scatter the products.

Values are only copied, so every dtype is exact. mmcv's CUDA op reads maps as if they
were contiguous, and wraps a position outside the output into the next row; here any
strides work, and such a position raises an IndexError.

On a GPU: mmcv's op should be a little faster, as it stores no table of positions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Fill col (C * kernel_h * kernel_w, N) with the windows of im (1, C, H, W).

    The window of a position (N,) begins ``pad_h`` rows above and ``pad_w`` columns
    left of it; outside im it is 0.
    """
    padded = F.pad(im[0], (pad_w, kernel_w - 1, pad_h, kernel_h - 1))
    rows = mask_h_idx[:, None] + torch.arange(kernel_h, device=im.device)
    columns = mask_w_idx[:, None] + torch.arange(kernel_w, device=im.device)
    windows = padded[:, rows[:, :, None], columns[:, None]]  # (C, N, kh, kw)
    col.copy_(windows.permute(0, 2, 3, 1).flatten(0, 2))


def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Write col (C, N) to the positions (N,) of im (1, C, height, width)."""
    im[0][:, mask_h_idx, mask_w_idx] = col.to(im.dtype)  # they differ in autocast
