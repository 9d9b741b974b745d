"""PSAMask equals the compiled one, and its definition."""

import pytest
import torch
from mmcv import ops
from op_checks import HALVES
from torch import Tensor

TYPES = ['collect', 'distribute']
# (h_mask, w_mask): odd, even, larger than the map on one axis or both.
SIZES = [(3, 3), (2, 4), (9, 1), (11, 9)]


def by_definition(mask: Tensor, kind: str, size: tuple[int, int]) -> Tensor:
    batch, _, height, width = mask.shape
    output = mask.new_zeros(batch, height * width, height, width)
    for y in range(height):
        for x in range(width):
            for place in range(size[0] * size[1]):
                to_y = y + place // size[1] - (size[0] - 1) // 2
                to_x = x + place % size[1] - (size[1] - 1) // 2
                if not (0 <= to_y < height and 0 <= to_x < width):
                    continue
                if kind == 'collect':
                    output[:, to_y * width + to_x, y, x] = mask[:, place, y, x]
                else:
                    output[:, y * width + x, to_y, to_x] = mask[:, place, y, x]
    return output


def masks(size: tuple[int, int], dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, size[0] * size[1], 4, 5, generator=generator).to(dtype)


@pytest.mark.parametrize('kind', TYPES)
def test_psa_mask_equals_the_stored_values(
    stored_values: dict[str, Tensor], kind: str
) -> None:
    output = ops.PSAMask(kind, (4, 4))(stored_values['psa_input'])
    assert torch.equal(output, stored_values[f'psa_{kind}'])


@pytest.mark.parametrize('kind', TYPES)
@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('dtype', [torch.float32, *HALVES])
def test_psa_mask_equals_its_definition(kind: str, size, dtype) -> None:
    given, plain = (masks(size, dtype).requires_grad_() for _ in range(2))
    columns = given.to(memory_format=torch.channels_last)
    output, expected = (
        ops.PSAMask(kind, size)(columns),
        by_definition(plain, kind, size),
    )
    assert torch.equal(output, expected)
    upstream = torch.randn(output.shape).to(dtype)
    output.mT.backward(upstream.mT)
    expected.backward(upstream)
    assert torch.equal(given.grad, plain.grad)


@pytest.mark.parametrize('kind', TYPES)
def test_psa_mask_gradient(kind: str) -> None:
    given = masks((3, 2), torch.float64)[:1].requires_grad_()
    assert torch.autograd.gradcheck(ops.PSAMask(kind, (3, 2)), given)


@pytest.mark.parametrize('kind', TYPES)
def test_psa_mask_edges(kind: str) -> None:
    psa = ops.PSAMask(kind, (3, 3))
    assert psa(torch.zeros(0, 9, 4, 5)).shape == (0, 20, 4, 5)
    given = masks((3, 3))
    given[0, 4, 0, 0] = float('nan')  # the position itself
    given[0, 0, 0, 0] = float('nan')  # a neighbour outside the map
    nan = psa(given).isnan()
    assert nan.sum() == 1 and nan[0, 0, 0, 0]
