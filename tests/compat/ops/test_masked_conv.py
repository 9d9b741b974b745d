"""Masked convolution equals the convolution at the chosen positions."""

import pytest
import torch
import torch.nn.functional as F
from mmcv import ops
from op_checks import HALVES, features
from torch import Tensor


def inputs(kernel: tuple[int, int], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """A map (1, 3, 6, 7), a mask of half its positions, weight and bias."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(1, 6, 7, generator=generator).round()
    weight = torch.randn(4, 3, *kernel, generator=generator)
    bias = torch.randn(4, generator=generator)
    return [features()[:1].detach().to(dtype), mask, weight.to(dtype), bias.to(dtype)]


def test_masked_conv_equals_the_stored_values(stored_values: dict[str, Tensor]) -> None:
    names = ('input', 'mask', 'weight', 'bias')
    given = [stored_values[f'masked_conv_{name}'] for name in names]
    output = ops.masked_conv2d(*given, 1)
    torch.testing.assert_close(
        output, stored_values['masked_conv_output'], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize('kernel', [(1, 1), (3, 3), (1, 5), (7, 3)])
def test_masked_conv_is_the_convolution_at_the_mask(kernel: tuple[int, int]) -> None:
    maps, mask, weight, bias = inputs(kernel)
    padding = kernel[0] // 2, kernel[1] // 2
    whole = F.conv2d(maps, weight, bias, padding=padding)
    output = ops.masked_conv2d(maps, mask, weight, bias, padding)
    torch.testing.assert_close(output, whole * mask)
    columns = maps.to(memory_format=torch.channels_last)
    assert torch.equal(
        ops.masked_conv2d(columns, mask.mT.contiguous().mT, weight, bias, padding),
        output,
    )


@pytest.mark.parametrize('dtype', HALVES)
def test_masked_conv_in_half_precision(dtype) -> None:
    maps, mask, weight, bias = inputs((3, 3), dtype)
    output = ops.masked_conv2d(maps, mask, weight, bias, 1)
    whole = F.conv2d(maps.float(), weight.float(), bias.float(), padding=1) * mask
    torch.testing.assert_close(output.float(), whole, rtol=0.02, atol=0.05)


def test_masked_conv_under_autocast() -> None:
    """The product has another dtype than the map, as mmcv does not convert either."""
    given = [tensor.float() for tensor in inputs((3, 3))]
    with torch.autocast('cpu', torch.bfloat16), torch.no_grad():
        output = ops.masked_conv2d(*given, 1)
    torch.testing.assert_close(
        output, ops.masked_conv2d(*given, 1), rtol=0.02, atol=0.05
    )


def test_masked_conv_edges() -> None:
    maps, mask, weight, bias = inputs((3, 3))
    none = ops.masked_conv2d(maps, torch.zeros_like(mask), weight, bias, 1)
    assert none.shape == (1, 4, 6, 7) and not none.any()

    mask = torch.zeros_like(mask)
    mask[0, 0, 0] = mask[0, 5, 6] = 1
    maps[0, 0, 1, 1] = float('nan')  # in the window of the first position only
    output = ops.masked_conv2d(maps, mask, weight, bias, 1)
    assert output[..., 0, 0].isnan().all() and not output[..., 5, 6].isnan().any()

    with pytest.raises(IndexError):  # mmcv writes to another position
        ops.masked_conv2d(maps, mask, weight, bias, 0)
