"""RoIPool and deformable RoI pooling equal mmcv's figures and plain loops."""

import itertools
import math

import pytest
import torch
from mmcv import ops
from op_checks import HALVES, features
from torch import Tensor

SCALE = 1 / 8
# (index, x1, y1, x2, y2): inside, across the border, outside, bins of a part of a cell.
ROIS = torch.tensor(
    [
        [0.0, 5.0, 9.0, 43.0, 31.0],
        [1.0, -8.0, 20.0, 30.0, 70.0],
        [1.0, 90.0, 90.0, 99.0, 99.0],
        [0.0, 16.0, 16.0, 17.0, 18.0],
    ]
).double()
SIZE = (2, 3)

# Maps and RoIs of mmcv's `test_roi_pool.py` and `test_deform_roi_pool.py`.
SMALL = [[1.0, 2], [3, 4]]
LARGE = [[1.0, 2, 5, 6], [3, 4, 7, 8], [9, 10, 13, 14], [11, 12, 15, 16]]


def whole(cells: list[list[float]]) -> tuple[Tensor, Tensor]:
    """A map that requires a gradient, and the RoI from its first to its last cell."""
    x = torch.tensor([[cells]]).requires_grad_()
    return x, torch.tensor([[0.0, 0, 0, len(cells) - 1, len(cells) - 1]])


def test_roi_pool_has_the_figures_of_mmcv() -> None:
    x, roi = whole(SMALL)
    output = ops.roi_pool(x, roi, 2, 1.0)
    output.sum().backward()
    assert torch.equal(output, x) and (x.grad == 1).all()

    x, roi = whole(LARGE)
    output = ops.roi_pool(x, roi, 2, 1.0)
    output.sum().backward()
    assert output[0, 0].tolist() == [[4, 8], [12, 16]]
    assert x.grad.nonzero()[:, 2:].tolist() == [[1, 1], [1, 3], [3, 1], [3, 3]]


def plain_maxima(maps: Tensor, roi: list[float]) -> Tensor:
    """(C, h, w) of one RoI on maps (C, H, W)."""
    x1, y1 = roi[1] * SCALE, roi[2] * SCALE
    x2, y2 = (roi[3] + 1) * SCALE, (roi[4] + 1) * SCALE
    step_y, step_x = (y2 - y1) / SIZE[0], (x2 - x1) / SIZE[1]
    bins = []
    for i, j in itertools.product(*map(range, SIZE)):
        top, bottom = math.floor(y1 + i * step_y), math.ceil(y1 + (i + 1) * step_y)
        left, right = math.floor(x1 + j * step_x), math.ceil(x1 + (j + 1) * step_x)
        cells = maps[:, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        cells = cells.flatten(1)
        bins.append(cells.amax(1) if cells.numel() else maps.new_zeros(len(maps)))
    return torch.stack(bins, 1).view(-1, *SIZE)


def test_roi_pool_equals_plain_loops() -> None:
    feat = features(torch.float64)
    got = ops.roi_pool(feat, ROIS, SIZE, SCALE)
    want = torch.stack([plain_maxima(feat[int(roi[0])], roi) for roi in ROIS.tolist()])
    assert torch.equal(got, want)
    upstream = torch.randn_like(got)
    got, want = (torch.autograd.grad(y, feat, upstream)[0] for y in (got, want))
    torch.testing.assert_close(got, want)


def test_roi_pool_edges() -> None:
    feat = features()
    rois = ROIS.float()
    rois[3, 1:] = torch.tensor([8.0, 8, 6, 20])  # negative width
    output = ops.roi_pool(feat, rois, SIZE, SCALE)
    assert output[:2].any() and not output[2:].any()
    rois[3, 1:] = torch.nan
    assert not ops.roi_pool(feat, rois, SIZE, SCALE)[3].any()
    with pytest.raises(IndexError):
        ops.roi_pool(feat, torch.tensor([[2.0, 0, 0, 9, 9]]), SIZE, SCALE)

    with torch.no_grad():
        feat[:, 0] = torch.nan
    output = ops.roi_pool(feat, ROIS.float(), SIZE, SCALE)
    lowest = torch.finfo(torch.float32).min
    assert (output[0, 0] == lowest).all()  # as in mmcv, which finds no larger number
    output.sum().backward()
    assert not feat.grad[:, 0].any() and feat.grad[:, 1].any()

    empty = ops.roi_pool(feat, rois[:0], SIZE, SCALE)
    assert empty.shape == (0, 3, *SIZE)
    empty.sum().backward()


def neighbours(at: float, size: int) -> list[tuple[int, float, float, int]]:
    """Cell, weight, weight without clamping and slope of the two cells around."""
    low = min(max(int(at), 0), size - 1)
    high = min(low + 1, size - 1)
    near = min(max(at, 0), size - 1) - low
    return [(low, 1 - near, high - at, -1), (high, near, at - low, 1)]


def plain_bins(maps, roi, offset, ratio, gamma, upstream):
    """Output, and the gradients of maps (C, H, W) and offset (2, h, w), of one RoI.

    As in mmcv's kernel, the slopes of the weights do not know about clamping.
    """
    corners = [number * SCALE - 0.5 for number in roi[1:]]
    sizes = corners[3] - corners[1], corners[2] - corners[0]  # y, x
    counts = [ratio or math.ceil(sizes[a] / SIZE[a]) for a in (0, 1)]
    limits = maps.shape[1:]
    output = maps.new_zeros(len(maps), *SIZE)
    by_maps, by_offset = torch.zeros_like(maps), torch.zeros_like(offset)
    for i, j in itertools.product(*map(range, SIZE)):
        for n in itertools.product(*map(range, counts)):
            at = [
                corners[1 - a]
                + gamma * sizes[a] * float(offset[1 - a, i, j])
                + ((i, j)[a] + (n[a] + 0.5) / counts[a]) * sizes[a] / SIZE[a]
                for a in (0, 1)
            ]
            if not all(-1 <= at[a] <= limits[a] for a in (0, 1)):
                continue
            rows, columns = (neighbours(at[a], limits[a]) for a in (0, 1))
            for y, weight_y, raw_y, sign_y in rows:
                for x, weight_x, raw_x, sign_x in columns:
                    share = weight_y * weight_x / math.prod(counts)
                    output[:, i, j] += share * maps[:, y, x]
                    by_maps[:, y, x] += share * upstream[:, i, j]
                    effect = maps[:, y, x] @ upstream[:, i, j] * gamma
                    effect = effect / math.prod(counts)
                    by_offset[0, i, j] += effect * sizes[1] * raw_y * sign_x
                    by_offset[1, i, j] += effect * sizes[0] * sign_y * raw_x
    return output, by_maps, by_offset


@pytest.mark.parametrize('ratio', [0, 2])
def test_deform_roi_pool_equals_plain_loops(ratio: int) -> None:
    feat = features(torch.float64)
    offset = torch.randn(4, 2, *SIZE, dtype=torch.float64).requires_grad_()
    output = ops.deform_roi_pool(feat, ROIS, offset, SIZE, SCALE, ratio, 0.3)
    upstream = torch.randn_like(output)
    output.backward(upstream)
    by_feat = torch.zeros_like(feat)
    for k, roi in enumerate(ROIS.tolist()):
        image = int(roi[0])
        values, by_maps, by_offset = plain_bins(
            feat[image].detach(), roi, offset[k].detach(), ratio, 0.3, upstream[k]
        )
        torch.testing.assert_close(output[k], values)
        torch.testing.assert_close(offset.grad[k], by_offset)
        by_feat[image] += by_maps
    torch.testing.assert_close(feat.grad, by_feat)


@pytest.mark.parametrize('ratio', [0, 2])
def test_deform_roi_pool_without_offsets_is_roi_align(ratio: int) -> None:
    feat = features()
    got = ops.deform_roi_pool(feat, ROIS.float(), None, SIZE, SCALE, ratio)
    want = ops.roi_align(feat, ROIS.float(), SIZE, SCALE, ratio, 'avg', True)
    torch.testing.assert_close(got, want)
    upstream = torch.randn_like(got)
    got, want = (torch.autograd.grad(y, feat, upstream)[0] for y in (got, want))
    torch.testing.assert_close(got, want)


def test_deform_roi_pool_gradient_inside_the_map() -> None:
    torch.manual_seed(0)
    feat = features(torch.float64)
    offset = torch.randn(1, 2, *SIZE, dtype=torch.float64).requires_grad_()
    roi = torch.tensor([[0.0, 12, 12, 40, 36]], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda *given: ops.deform_roi_pool(given[0], roi, given[1], SIZE, SCALE, 2),
        (feat, offset),
        fast_mode=True,
    )


def test_deform_roi_pool_has_the_figures_of_mmcv() -> None:
    for cells, pooled, corner in [
        (SMALL, [[1, 1.25], [1.5, 1.75]], [[3.0625, 0.4375], [0.4375, 0.0625]]),
        (
            LARGE,
            [[1.9375, 4.75], [7.5625, 10.375]],
            [[0.47265625, 0.4296875], [0.4296875, 0.390625]],
        ),
    ]:
        x, roi = whole(cells)
        pool = ops.DeformRoIPoolPack((2, 2), 1, spatial_scale=1.0, sampling_ratio=2)
        output = pool(x, roi)
        output.sum().backward()
        assert output[0, 0].tolist() == pooled
        assert x.grad[0, 0, :2, :2].tolist() == corner


def test_deform_roi_pool_edges() -> None:
    feat, rois = features(), ROIS.float()
    offset = torch.zeros(4, 2, *SIZE)
    offset[0, 0, 0, 0] = torch.nan
    offset[1, 1, 0, 0] = torch.inf
    output = ops.deform_roi_pool(feat, rois, offset, SIZE, SCALE, 2)
    assert output[0, :, 0, 0].isnan().all()  # as on a GPU
    assert not output[1, :, 0, 0].any() and output.isnan().sum() == 3
    rois[3, 1] = torch.nan
    assert not ops.deform_roi_pool(feat, rois, None, SIZE, SCALE, 0)[3].any()
    with pytest.raises((IndexError, RuntimeError)):
        rois[0, 0] = 2
        ops.deform_roi_pool(feat, rois, None, SIZE, SCALE, 2)

    empty = ops.deform_roi_pool(feat, rois[:0], offset[:0], SIZE, SCALE, 0)
    assert empty.shape == (0, 3, *SIZE)
    empty.sum().backward()
    assert not feat.grad.any()


def both(feat: Tensor) -> list[Tensor]:
    rois = ROIS.to(feat.dtype)
    shift = feat.new_full((4, 2, *SIZE), 0.25)
    return [
        ops.roi_pool(feat, rois, SIZE, SCALE),
        ops.deform_roi_pool(feat, rois, shift, SIZE, SCALE),
    ]


@pytest.mark.parametrize('dtype', HALVES)
def test_half_precision(dtype) -> None:
    half = features(dtype)
    wide = half.detach().float().requires_grad_()
    for got, want in zip(both(half), both(wide), strict=True):
        assert torch.equal(got, want.to(dtype))
        upstream = torch.randn_like(got)
        (got,) = torch.autograd.grad(got, half, upstream)
        (want,) = torch.autograd.grad(want, wide, upstream.float())
        assert torch.equal(got, want.to(dtype))


def test_maps_that_are_not_contiguous() -> None:
    feat = features()
    last = feat.detach().to(memory_format=torch.channels_last).requires_grad_()
    for got, want in zip(both(last), both(feat), strict=True):
        torch.testing.assert_close(got, want)
        upstream = torch.randn_like(want).mT.contiguous().mT
        (got,) = torch.autograd.grad(got, last, upstream)
        (want,) = torch.autograd.grad(want, feat, upstream)
        torch.testing.assert_close(got, want)
