"""The attention masks of PSANet, from relative to absolute positions.

At each position, a mask (h_mask, w_mask) holds a value for each neighbour. The result
holds one for each pair of positions of a map; a neighbour outside the map has none.
Rows and columns are independent, so each is moved with one copy for each row or column
of the map. Values are only copied, so every dtype is exact.

On a GPU: mmcv's op should be faster. It is one kernel; here each row and each column is
a copy.
"""

from collections.abc import Iterator

from torch import Tensor

_COLLECT = 0  # mmcv's psa_type; 1 is distribute


def _overlaps(size: int, mask: int, center: int) -> Iterator[tuple[int, slice, slice]]:
    """For each position of an axis, its neighbours within the map.

    They are a slice of the mask's axis and a slice of the map's axis.
    """
    for position in range(size):
        first = position - center  # the place of the mask's first value in the map
        start, stop = max(0, -first), min(mask, size - first)
        yield position, slice(start, stop), slice(start + first, stop + first)


def psamask_forward(
    input: Tensor,
    output: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Fill output (B, H * W, H, W), which is 0, from input (B, h_mask * w_mask, H, W).

    In output, the position that a value belongs to is in the last two dimensions for
    `collect`, and its neighbour in the second one; for `distribute` it is the other way
    round.
    """
    size = num_, h_feature, w_feature
    mask = input.view(num_, h_mask, w_mask, h_feature, w_feature)
    by_row = input.new_zeros(num_, h_feature, w_mask, h_feature, w_feature)
    for h, within, rows in _overlaps(h_feature, h_mask, half_h_mask):
        by_row[:, rows, :, h] = mask[:, within, :, h]
    pairs = _pairs(output, psa_type, *size)
    for w, within, columns in _overlaps(w_feature, w_mask, half_w_mask):
        pairs[:, :, columns, :, w] = by_row[:, :, within, :, w]


def psamask_backward(
    grad_output: Tensor,
    grad_input: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Fill grad_input (B, h_mask * w_mask, H, W), which is 0, from grad_output."""
    size = num_, h_feature, w_feature
    mask = grad_input.view(num_, h_mask, w_mask, h_feature, w_feature)
    by_row = grad_input.new_zeros(num_, h_feature, w_mask, h_feature, w_feature)
    pairs = _pairs(grad_output, psa_type, *size)
    for w, within, columns in _overlaps(w_feature, w_mask, half_w_mask):
        by_row[:, :, within, :, w] = pairs[:, :, columns, :, w]
    for h, within, rows in _overlaps(h_feature, h_mask, half_h_mask):
        mask[:, within, :, h] = by_row[:, rows, :, h]


def _pairs(output: Tensor, psa_type: int, num: int, height: int, width: int) -> Tensor:
    """(B, H * W, H, W) as a view of shape (B, H, W of the neighbour, H, W)."""
    pairs = output.unflatten(1, (height, width))
    return pairs if psa_type == _COLLECT else pairs.permute(0, 3, 4, 1, 2)
