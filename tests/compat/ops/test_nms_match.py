"""nms_match returns the groups that its definition gives."""

import numpy as np
import pytest
import torch
from mmcv import ops
from op_checks import HALVES
from torch import Tensor


def by_definition(dets: Tensor, threshold: float) -> list[list[int]]:
    """In float32, as mmcv computes."""
    rows, threshold = dets.numpy(), np.float32(threshold)
    areas = (rows[:, 2] - rows[:, 0]) * (rows[:, 3] - rows[:, 1])
    rest, groups = np.argsort(-rows[:, 4], kind='stable').tolist(), []
    while rest:
        best, *others = rest
        group = [best]
        for other in others:
            low = np.maximum(rows[best, :2], rows[other, :2])
            high = np.minimum(rows[best, 2:4], rows[other, 2:4])
            inter = np.prod(np.maximum(high - low, np.float32(0)))
            union = areas[best] + areas[other] - inter
            if union and inter / union >= threshold:
                group.append(other)
        groups.append(group)
        rest = [row for row in others if row not in group]
    return groups


def dets(seed: int, count: int = 40) -> Tensor:
    """Rows of boxes on a coarse grid and scores of one decimal: ties of both."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randint(0, 10, (count, 5), generator=generator).float()
    numbers[:, 2:4] += numbers[:, :2] - 1  # some have no area or a negative size
    numbers[:, 4] /= 10
    return numbers


@pytest.mark.parametrize('threshold', [0.1, 0.3, 0.5, 1.0])
@pytest.mark.parametrize('seed', range(3))
def test_nms_match_equals_its_definition(seed: int, threshold: float) -> None:
    rows = dets(seed)
    groups = ops.nms_match(rows, threshold)
    assert [group.tolist() for group in groups] == by_definition(rows, threshold)
    for same in (rows.t().contiguous().t(), rows.numpy()):
        again = ops.nms_match(same, threshold)
        assert [group.tolist() for group in again] == by_definition(rows, threshold)


def test_nms_match_of_the_case_in_the_tests_of_mmcv() -> None:
    rows = torch.tensor(
        [
            [49.1, 32.4, 51.0, 35.9, 0.9],
            [49.3, 32.9, 51.0, 35.3, 0.9],
            [35.3, 11.5, 39.9, 14.5, 0.4],
            [35.2, 11.7, 39.7, 15.7, 0.3],
        ]
    )
    groups = [group.tolist() for group in ops.nms_match(rows, 0.6)]
    assert groups == [[0, 1], [2, 3]]
    keep = ops.nms(rows[:, :4].contiguous(), rows[:, 4].contiguous(), 0.6)[1]
    assert keep.tolist() == [group[0] for group in groups]
    assert len(ops.nms_match(np.array([]), 0.6)) == 0


def test_an_iou_equal_to_the_threshold_is_in_the_group() -> None:
    rows = torch.tensor([[0, 0, 10, 10, 0.9], [0, 0, 10, 3, 0.8]])
    assert [group.tolist() for group in ops.nms_match(rows, 0.3)] == [[0, 1]]


@pytest.mark.parametrize('dtype', HALVES)
def test_nms_match_in_half_precision(dtype) -> None:
    half = dets(0).to(dtype)
    got, want = (ops.nms_match(rows, 0.5) for rows in (half, half.float()))
    assert [g.tolist() for g in got] == [g.tolist() for g in want]


def test_a_box_with_nan_is_alone() -> None:
    rows = torch.tensor([[0, 0, 9, 9, 0.9], [0, 0, 9, 9, 0.8], [0, 0, 9, 9, 0.7]])
    rows[0, 0] = float('nan')
    assert [group.tolist() for group in ops.nms_match(rows, 0.5)] == [[0], [1, 2]]
