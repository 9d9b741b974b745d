"""NMS and soft-NMS equal the compiled ones."""

import numpy as np
import pytest
import torch
from mmcv import ops
from op_checks import HALVES
from torch import Tensor


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('iou', [0.3, 0.5, 0.7])
def test_nms_golden(goldens: dict[str, Tensor], iou: float, offset: int) -> None:
    dets, keep = ops.nms(goldens['boxes'], goldens['scores'], iou, offset=offset)
    assert torch.equal(keep, goldens[f'nms_{iou}_{offset}_keep'])
    assert torch.equal(dets, goldens[f'nms_{iou}_{offset}_dets'])


@pytest.mark.parametrize('agnostic', [False, True])
def test_batched_nms_golden(goldens: dict[str, Tensor], agnostic: bool) -> None:
    # The threshold is not recorded; of 0.3, 0.5 and 0.7 only 0.5 gives the figures.
    inputs = [goldens[name] for name in ('boxes', 'scores', 'idxs')]
    dets, keep = ops.batched_nms(*inputs, dict(iou_threshold=0.5), agnostic)
    if agnostic:
        assert torch.equal(keep, goldens['batched_nms_agnostic_keep'])
    else:
        assert torch.equal(keep, goldens['batched_nms_keep'])
        assert torch.equal(dets, goldens['batched_nms_dets'])


def test_soft_nms_golden(goldens: dict[str, Tensor]) -> None:
    # As above: mmcv's defaults (linear, min_score 1e-3) except the threshold.
    dets, keep = ops.soft_nms(goldens['boxes'], goldens['scores'], iou_threshold=0.5)
    assert torch.equal(keep, goldens['soft_nms_keep'])
    torch.testing.assert_close(dets, goldens['soft_nms_dets'], rtol=1e-5, atol=0)


def test_naive_soft_nms_is_nms(goldens: dict[str, Tensor]) -> None:
    inputs = goldens['boxes'], goldens['scores'], 0.5
    for got, want in zip(
        ops.soft_nms(*inputs, method='naive'), ops.nms(*inputs), strict=True
    ):
        assert torch.equal(got, want)


def test_gaussian_soft_nms_equals_its_formula() -> None:
    boxes = torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 4], [20, 20, 30, 30]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    dets, keep = ops.soft_nms(boxes, scores, sigma=0.5, method='gaussian')
    assert keep.tolist() == [0, 2, 1]
    decayed = 0.8 * np.exp(-(0.5**2) / 0.5)  # IoU 0.5
    torch.testing.assert_close(dets[:, 4], torch.tensor([0.9, 0.7, decayed]).float())
    assert scores.tolist() == pytest.approx([0.9, 0.8, 0.7])  # the caller's, untouched

    pixels = torch.zeros(3, 4)  # IoU 0/0
    dets, _ = ops.soft_nms(pixels, scores, method='gaussian')
    assert torch.equal(dets[:, 4], scores)


@pytest.mark.parametrize('nms', [ops.nms, ops.soft_nms])
def test_offset_counts_the_last_pixel(nms) -> None:
    scores = torch.tensor([0.9, 0.8])
    pixel = torch.zeros(2, 4)  # the same pixel twice: no area unless counted
    assert nms(pixel, scores, 0.5, offset=0)[1].tolist() == [0, 1]
    assert nms(pixel, scores, 0.5, offset=1)[1].tolist() == [0]


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('tenths', [3, 7])
def test_nms_keeps_an_iou_equal_to_the_threshold(tenths: int, dtype) -> None:
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, tenths]], dtype=dtype)
    scores = torch.tensor([0.9, 0.8], dtype=dtype)
    assert len(ops.nms(boxes, scores, tenths / 10)[1]) == 2


@pytest.mark.parametrize('nms', [ops.nms, ops.soft_nms])
def test_of_equal_scores_the_lower_index_is_first(nms) -> None:
    """In mmcv the order is undefined: the middle box alone may be kept."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]])
    keep = nms(boxes, torch.full((3,), 0.5), 0.5)[1]
    assert keep.tolist()[:2] == [0, 2]


@pytest.mark.parametrize('dtype', HALVES)
@pytest.mark.parametrize('nms', [ops.nms, ops.soft_nms])
def test_nms_in_half_precision(goldens: dict[str, Tensor], nms, dtype) -> None:
    boxes, scores = goldens['boxes'].to(dtype), goldens['scores'].to(dtype)
    dets, keep = nms(boxes, scores, 0.5)
    wide_dets, wide_keep = nms(boxes.float(), scores.float(), 0.5)
    assert torch.equal(keep, wide_keep)
    assert torch.equal(dets, wide_dets.to(dtype))
    assert torch.equal(nms(boxes.float(), scores, 0.5)[1], keep)  # mixed


@pytest.mark.parametrize('nms', [ops.nms, ops.soft_nms])
def test_nms_edges(goldens: dict[str, Tensor], nms) -> None:
    dets, keep = nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert dets.shape == (0, 5) and keep.shape == (0,) and keep.dtype == torch.long

    boxes, scores = goldens['boxes'], goldens['scores']
    columns = boxes.t().contiguous().t()
    assert not columns.is_contiguous()
    assert torch.equal(nms(columns, scores, 0.5)[1], nms(boxes, scores, 0.5)[1])

    with pytest.raises(TypeError, match='floating point'):
        nms(boxes.long(), scores, 0.5)
