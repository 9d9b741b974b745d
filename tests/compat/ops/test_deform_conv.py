"""Deformable convolution, both versions, equals mmcv's compiled ops and plain loops."""

import math

import pytest
import torch
from mmcv import ops
from op_checks import HALVES, relative_error
from torch import Tensor

from mmpatchconvnet.compat import ops as our_ops


def sample(maps: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Bilinear value (C,) of maps (C, H, W); nothing on or beyond the edge."""
    _, height, width = maps.shape
    if not (-1 < y < height and -1 < x < width):
        return maps.new_zeros(len(maps))
    top, left = int(y.detach().floor()), int(x.detach().floor())
    value = maps.new_zeros(len(maps))
    for row, near_y in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, near_x in ((left, 1 - (x - left)), (left + 1, x - left)):
            if 0 <= row < height and 0 <= column < width:
                value = value + near_y * near_x * maps[:, row, column]
    return value


def plain(x, offset, mask, weight, bias, stride, padding, dilation, groups, parts):
    """The convolution by its formula; numbers per axis as (y, x)."""
    kernel = weight.shape[2:]
    size = offset.shape[2:]
    offset = offset.unflatten(1, (parts, *kernel, 2))
    mask = torch.ones_like(offset[:, :, :, :, 0]) if mask is None else mask
    mask = mask.reshape(offset[:, :, :, :, 0].shape)
    columns = []
    for b, part, i, j, *out in torch.cartesian_prod(
        *map(torch.arange, (len(x), parts, *kernel, *size))
    ).tolist():
        shift = offset[b, part, i, j, :, out[0], out[1]]
        y_x = [
            out[a] * stride[a] - padding[a] + (i, j)[a] * dilation[a] + shift[a]
            for a in (0, 1)
        ]
        value = sample(x[b].chunk(parts)[part], *y_x)
        columns.append(value * mask[b, part, i, j, out[0], out[1]])
    # (B, parts, taps, h, w, C / parts) to (B, C, taps, h, w)
    table = torch.stack(columns).view(len(x), parts, *kernel, *size, -1)
    table = table.movedim(-1, 2).flatten(1, 2)
    outputs = [
        torch.einsum('bcijhw,dcij->bdhw', part, kernels)
        for part, kernels in zip(
            table.chunk(groups, 1), weight.chunk(groups), strict=True
        )
    ]
    output = torch.cat(outputs, 1)
    return output if bias is None else output + bias[:, None, None]


def leaf(*shape: int, scale: float = 1.0) -> Tensor:
    return (scale * torch.randn(shape, dtype=torch.float64)).requires_grad_()


# kernel, stride, padding, dilation, groups, parts of the channels with own offsets
GEOMETRIES = [
    ((3, 3), (1, 1), (1, 1), (1, 1), 1, 1),
    ((2, 3), (2, 1), (0, 2), (1, 2), 2, 2),
    ((1, 1), (1, 2), (1, 0), (1, 1), 4, 4),
]


def operands(geometry, channels=4, size=(5, 4), scale=1.5):
    """Input, offset, mask, weight and bias that require a gradient, in float64."""
    kernel, stride, padding, dilation, groups, parts = geometry
    torch.manual_seed(0)
    height, width = (
        (size[a] + 2 * padding[a] - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1
        for a in (0, 1)
    )
    taps = parts * kernel[0] * kernel[1]
    return (
        leaf(2, channels, *size),
        leaf(2, 2 * taps, height, width, scale=scale),
        leaf(2, taps, height, width),
        leaf(8, channels // groups, *kernel),
        leaf(8),
    )


def run(version: int, tensors, geometry):
    """The op as mmcv calls it."""
    x, offset, mask, weight, bias = tensors
    numbers = geometry[1:]
    if version == 1:
        return ops.deform_conv2d(x, offset, weight, *numbers)
    return ops.modulated_deform_conv2d(x, offset, mask, weight, bias, *numbers)


def used(version: int, tensors):
    return [tensors[i] for i in ((0, 1, 3) if version == 1 else range(5))]


@pytest.mark.parametrize('scale', [0.0, 1.5])  # 0: samples at exactly -1 and the size
@pytest.mark.parametrize('geometry', GEOMETRIES)
@pytest.mark.parametrize('version', [1, 2])
def test_it_equals_plain_loops(version: int, geometry, scale: float) -> None:
    tensors = operands(geometry, scale=scale)
    x, offset, mask, weight, bias = tensors
    if version == 1:
        expected = plain(x, offset, None, weight, None, *geometry[1:])
    else:
        expected = plain(x, offset, mask, weight, bias, *geometry[1:])
    output = run(version, tensors, geometry)
    torch.testing.assert_close(output, expected)

    upstream = torch.randn_like(expected)
    for got, want in zip(
        torch.autograd.grad(output, used(version, tensors), upstream),
        torch.autograd.grad(expected, used(version, tensors), upstream),
        strict=True,
    ):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize('version', [1, 2])
def test_gradients(version: int) -> None:
    geometry = GEOMETRIES[1]
    tensors = operands(geometry)
    assert torch.autograd.gradcheck(
        lambda *given: run(version, given, geometry), tensors, fast_mode=True
    )


def test_version_1_has_the_figures_of_mmcv() -> None:
    """Input, parameters and results of mmcv's `test_deform_conv.py`."""
    conv = ops.DeformConv2dPack(1, 1, 2, im2col_step=2).double()
    parameters = [
        '.1 .4 .6 .1 .3 .2 .1 .3 .5 .5 .2 .8 .8 .3 .9 .1 '
        '.3 .1 .2 .5 .3 .7 .5 .3 .6 .2 .5 .3 .4 .1 .8 .4',
        '.7 .1 .8 .5 .6 .5 .4 .7',
        '.4 .2 .1 .9',
    ]
    targets = conv.conv_offset.weight, conv.conv_offset.bias, conv.weight
    for target, numbers in zip(targets, parameters, strict=True):
        values = torch.tensor([float(number) for number in numbers.split()])
        target.data = values.double().view(target.shape)
    x = torch.tensor([[[[1.0, 2, 3], [0, 1, 2], [3, 5, 2]]]]).double()
    x = x.repeat(10, 1, 1, 1).requires_grad_()

    output = conv(x)
    output.sum().backward()
    close = dict(rtol=1e-3, atol=1e-8, check_dtype=False)
    for got, want in [
        (output[9, 0], [[1.65, 0], [0, 0]]),
        (x.grad[9, 0], [[-0.666, 0.204, 0], [0.03, -0.416, 0.012], [0, 0.252, 0.129]]),
        (conv.weight.grad[0, 0] / 10, [[3.62, 0], [0.4, 0.18]]),
        (
            conv.conv_offset.bias.grad / 10,
            [1.44, -0.72, 0, 0, -0.1, -0.08, -0.54, -0.54],
        ),
        (conv.conv_offset.weight.grad[0, 0] / 10, [[1.44, 2.88], [0, 1.44]]),
        (conv.conv_offset.weight.grad[5, 0] / 10, [[-0.08, -0.16], [0, -0.08]]),
    ]:
        torch.testing.assert_close(got, torch.tensor(want), **close)


def test_version_2_has_the_figures_of_mmcv() -> None:
    """A new layer with padding, from mmcv's `test_modulated_deform_conv.py`."""
    conv = ops.ModulatedDeformConv2dPack(1, 1, 2, padding=1, bias=False)
    conv.weight.data.fill_(1)
    x = torch.tensor([1.0, 2, 3]).expand(1, 1, 3, 3).clone().requires_grad_()
    output = conv(x)
    output.sum().backward()

    row = torch.tensor([0.5, 1.5, 2.5, 1.5])
    expected = torch.stack((row, 2 * row, 2 * row, row))
    torch.testing.assert_close(output[0, 0], expected)
    torch.testing.assert_close(x.grad, torch.full_like(x, 2))
    torch.testing.assert_close(conv.weight.grad, torch.full((1, 1, 2, 2), 9.0))
    by_bias = torch.tensor([-3, -1.5] * 4 + [4.5] * 4)
    torch.testing.assert_close(conv.conv_offset.bias.grad, by_bias)
    by_weight = conv.conv_offset.weight.grad[:, 0]
    for channel, want in [
        (0, [[-7.0, -4], [0, 0]]),
        (1, [[-9, 7.5], [-6, 5]]),
        (7, [[-5, -6], [-7.5, -9]]),
        (8, [[10.5, 6], [7, 4]]),
    ]:
        torch.testing.assert_close(by_weight[channel], torch.tensor(want))


@pytest.mark.parametrize('number', [math.nan, math.inf, -math.inf, 1e30])
@pytest.mark.parametrize('version', [1, 2])
def test_offsets_that_are_not_on_the_map_add_nothing(version: int, number) -> None:
    geometry = GEOMETRIES[0]
    tensors = operands(geometry, scale=0.3)
    outside = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    outside[1].data[0, 8:10, 2, 2] = -100  # the centre of a kernel
    broken = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    broken[1].data[0, 9, 2, 2] = number  # a column alone

    got, want = (run(version, given, geometry) for given in (broken, outside))
    assert torch.equal(got, want)
    upstream = torch.randn_like(got)
    got = torch.autograd.grad(got, used(version, broken), upstream)
    want = list(torch.autograd.grad(want, used(version, outside), upstream))
    if math.isnan(number):  # as on a GPU, visible to who looks for it
        assert got[1][0, 8:10, 2, 2].isnan().all()
        want[1][0, 8:10, 2, 2] = math.nan
        if version == 2:
            want[2][0, 4, 2, 2] = math.nan
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, equal_nan=True)


def test_offsets_of_a_larger_map_are_read_in_memory_order() -> None:
    """As DyHead hands them to the next smaller level, with a slice of channels."""
    x, _, _, weight, bias = operands(GEOMETRIES[0])
    both = leaf(2, 27, 7, 6)
    offset, mask = both[:, :18], both[:, 18:]
    output = ops.modulated_deform_conv2d(x, offset, mask, weight, bias, 1, 1)
    count = 5 * 4
    expected = ops.modulated_deform_conv2d(
        x,
        offset.flatten(1)[:, : 18 * count].reshape(2, 18, 5, 4),
        mask.flatten(1)[:, : 9 * count].reshape(2, 9, 5, 4),
        weight,
        bias,
        1,
        1,
    )
    assert torch.equal(output, expected)
    upstream = torch.randn_like(output)
    inputs = (x, both, weight, bias)
    for got, want in zip(
        torch.autograd.grad(output, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream),
        strict=True,
    ):
        assert torch.equal(got, want)

    with pytest.raises(ValueError, match=r'\(18, 5, 4\)'):  # mmcv reads past the end
        ops.modulated_deform_conv2d(
            x, offset[..., :3, :3], mask[..., :3, :3], weight, bias, 1, 1
        )


def test_version_1_wants_offsets_of_the_output() -> None:
    x, offset, _, weight, _ = operands(GEOMETRIES[0])
    with pytest.raises(ValueError, match=r'\(2, 18, 4, 4\).*\(2, 18, 5, 4\)'):
        ops.deform_conv2d(x, offset[:, :, 1:], weight, 1, 1)


@pytest.mark.parametrize('dtype', HALVES)
@pytest.mark.parametrize('version', [1, 2])
def test_half_precision(version: int, dtype) -> None:
    geometry = GEOMETRIES[1]
    half = [t.detach().to(dtype).requires_grad_() for t in operands(geometry)]
    wide = [t.detach().float().requires_grad_() for t in half]
    got, want = (run(version, tensors, geometry) for tensors in (half, wide))
    assert torch.equal(got, want.to(dtype))
    upstream = torch.randn_like(got)
    for a, b in zip(
        torch.autograd.grad(got, used(version, half), upstream),
        torch.autograd.grad(want, used(version, wide), upstream.float()),
        strict=True,
    ):
        assert torch.equal(a, b.to(dtype))


@pytest.mark.parametrize('version', [1, 2])
def test_maps_that_are_not_contiguous(version: int) -> None:
    geometry = GEOMETRIES[1]
    tensors = operands(geometry)
    last = [
        t.detach().to(memory_format=torch.channels_last).requires_grad_()
        if t.dim() == 4
        else t
        for t in tensors
    ]
    got, want = (run(version, given, geometry) for given in (last, tensors))
    torch.testing.assert_close(got, want)
    upstream = torch.randn_like(want).to(memory_format=torch.channels_last)
    for a, b in zip(
        torch.autograd.grad(got, used(version, last), upstream),
        torch.autograd.grad(want, used(version, tensors), upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_empty_batches() -> None:
    """mmcv's Python code refuses them before it calls the op."""
    tensors = [t.detach() for t in operands(GEOMETRIES[0])]
    x, offset, mask = (t[:0] for t in tensors[:3])
    weight, bias = tensors[3:]
    output, scratch = x.new_zeros(0, 8, 5, 4), x.new_empty(0)
    numbers = (3, 3, 1, 1, 1, 1, 1, 1, 1, 1)
    our_ops.deform_conv_forward(
        x, weight, offset, output, scratch, scratch, *numbers, 0
    )
    our_ops.modulated_deform_conv_forward(
        *(x, weight, bias, scratch, offset, mask, output, scratch), *numbers, True
    )
    buffers = [torch.ones_like(t) for t in (x, weight, bias, offset, mask)]
    our_ops.modulated_deform_conv_backward(
        *(x, weight, bias, scratch, offset, mask, scratch, *buffers, output),
        *numbers,
        True,
    )
    assert all((buffer == 1).all() for buffer in buffers)


@pytest.mark.parametrize('step', [1, 2, 32])
def test_the_step_does_not_matter(step: int) -> None:
    x, offset, _, weight, _ = operands(GEOMETRIES[0])
    got = ops.deform_conv2d(x, offset, weight, 1, 1, 1, 1, 1, False, step)
    assert torch.equal(got, ops.deform_conv2d(x, offset, weight, 1, 1))


def test_buffers_are_added_to_or_filled_as_in_mmcv() -> None:
    tensors = [t.detach() for t in operands(GEOMETRIES[0])]
    x, offset, mask, weight, bias = tensors
    grad_output = torch.randn(2, 8, 5, 4, dtype=torch.float64)
    scratch = x.new_empty(0)

    def backward(ones: float, with_bias: bool) -> list[Tensor]:
        buffers = [torch.full_like(t, ones) for t in (x, weight, bias, offset, mask)]
        our_ops.modulated_deform_conv_backward(
            *(x, weight, bias, scratch, offset, mask, scratch, *buffers, grad_output),
            *(3, 3, 1, 1, 1, 1, 1, 1, 1, 1, with_bias),
        )
        return buffers

    zero, one = backward(0, True), backward(1, True)
    for number in range(3):  # input, weight, bias
        torch.testing.assert_close(one[number], zero[number] + 1)
    for number in (3, 4):  # offset, mask
        assert torch.equal(one[number], zero[number])
    assert torch.equal(backward(1, False)[2], torch.ones_like(bias))


def test_the_weight_of_version_1_can_be_scaled_and_computed_alone() -> None:
    x, offset, _, weight, _ = operands(GEOMETRIES[0])
    output = ops.deform_conv2d(x, offset, weight, 1, 1)
    upstream = torch.randn_like(output)
    (expected,) = torch.autograd.grad(output, weight, upstream)

    x, offset, weight = x.detach(), offset.detach(), weight.detach()
    columns = x.new_empty(0)
    numbers = (3, 3, 1, 1, 1, 1, 1, 1, 1, 1)
    got = torch.ones_like(weight)
    our_ops.deform_conv_backward_parameters(
        x, offset, upstream, got, columns, columns, *numbers, 0.5, 2
    )
    torch.testing.assert_close(got, 1 + 0.5 * expected)

    # What waits from another gradient is not used.
    buffers = torch.zeros_like(x), torch.zeros_like(offset)
    our_ops.deform_conv_backward_input(
        x, offset, 2 * upstream, *buffers, weight, columns, *numbers, 2
    )
    got = torch.zeros_like(weight)
    our_ops.deform_conv_backward_parameters(
        x, offset, upstream, got, columns, columns, *numbers, 1, 2
    )
    torch.testing.assert_close(got, expected)


def test_float32_agrees_with_float64() -> None:
    geometry = GEOMETRIES[0]
    tensors = operands(geometry)
    single = run(2, [t.detach().float() for t in tensors], geometry)
    double = run(2, tensors, geometry).detach()
    assert relative_error(single, double) < 1e-6
