"""RoIAlign, average and maximum, equals the compiled one."""

import numpy as np
import pytest
import torch
from mmcv import ops
from op_checks import HALVES, features, relative_error
from torch import Tensor

from mmpatchconvnet.compat import ops as our_ops

SCALE = 1 / 8
# (index, x1, y1, x2, y2): inside, across the border, outside, without area.
ROIS = torch.tensor(
    [
        [0.0, 5.0, 9.0, 43.0, 31.0],
        [1.0, -8.0, 20.0, 30.0, 70.0],
        [1.0, 90.0, 90.0, 99.0, 99.0],
        [0.0, 16.0, 16.0, 16.0, 16.0],
    ]
)


def pool(
    feat: Tensor, rois: Tensor, mode: str, ratio: int, aligned: bool = True
) -> Tensor:
    return ops.roi_align(feat, rois, (2, 3), SCALE, ratio, mode, aligned)


@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize('aligned', [False, True])
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('size', [7, 14])
def test_roi_align_golden(
    goldens: dict[str, Tensor], size: int, ratio: int, aligned: bool, mode: str
) -> None:
    name = f'roi_{size}_{ratio}_{aligned:d}_{mode}'
    feat = goldens['feat'].clone().requires_grad_()
    output = ops.RoIAlign(size, SCALE, ratio, mode, aligned)(feat, goldens['rois'])
    upstream = np.random.default_rng(1).standard_normal(output.shape)
    output.backward(torch.from_numpy(upstream).float())

    assert relative_error(output[:, :3], goldens[name]) < 1e-5
    assert relative_error(output.double().sum(), goldens[f'{name}_sum']) < 1e-5
    assert relative_error(feat.grad.sum((2, 3)), goldens[f'{name}_grad_sum']) < 1e-5


@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize('aligned', [False, True])
@pytest.mark.parametrize('ratio', [0, 2])
def test_roi_align_gradient(mode: str, aligned: bool, ratio: int) -> None:
    rois = ROIS.double()
    assert torch.autograd.gradcheck(
        lambda feat: pool(feat, rois, mode, ratio, aligned),
        features(torch.float64),
        fast_mode=True,
    )


@pytest.mark.parametrize('ratio', [0, 4])
def test_max_on_a_ramp_is_the_last_sample(ratio: int) -> None:
    # Oblong bins: h = 2 of 10 cells each, w = 3 of 4 cells, one sample per cell or 4.
    ramp = torch.arange(32.0)
    roi = torch.tensor([[0.0, 2.0, 4.0, 14.0, 24.0]]) / SCALE
    down = ramp[:, None].expand(1, 1, 32, 32)
    steps_y, steps_x = (10, 4) if ratio == 0 else (ratio, ratio)
    last_y = 4 - 0.5 + torch.tensor([10.0, 20.0]) - 0.5 * 10 / steps_y
    last_x = 2 - 0.5 + torch.tensor([4.0, 8.0, 12.0]) - 0.5 * 4 / steps_x
    rows, columns = pool(down, roi, 'max', ratio), pool(down.mT, roi, 'max', ratio)
    torch.testing.assert_close(rows[0, 0], last_y[:, None].expand(2, 3))
    torch.testing.assert_close(columns[0, 0], last_x.expand(2, 3))


@pytest.mark.parametrize('dtype', HALVES)
@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize('ratio', [0, 2])
def test_roi_align_in_half_precision(dtype, mode: str, ratio: int) -> None:
    half = features(dtype)
    wide = half.detach().float().requires_grad_()
    got, want = (pool(feat, ROIS, mode, ratio) for feat in (half, wide))
    assert torch.equal(got, want.to(dtype))
    upstream = torch.randn(got.shape).to(dtype)
    got.backward(upstream)
    want.backward(upstream.float())
    assert torch.equal(half.grad, wide.grad.to(dtype))


@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize('ratio', [0, 2])
def test_roi_align_edges(mode: str, ratio: int) -> None:
    feat = features()
    empty = pool(feat, ROIS[:0], mode, ratio)
    assert empty.shape == (0, 3, 2, 3)
    empty.sum().backward()
    assert not feat.grad.any()

    rois = ROIS.t().contiguous().t()
    last = feat.detach().to(memory_format=torch.channels_last).requires_grad_()
    got, want = pool(last, rois, mode, ratio), pool(feat, ROIS, mode, ratio)
    assert torch.equal(got, want)
    feat.grad = None
    got.permute(1, 0, 3, 2).square().sum().backward()
    want.square().sum().backward()
    torch.testing.assert_close(last.grad, feat.grad)

    with pytest.raises(TypeError, match='floating point'):
        pool(feat, ROIS.long(), mode, ratio)


@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('number', [np.nan, np.inf, -np.inf])
def test_a_roi_that_is_not_finite_is_nan(number: float, ratio: int, mode: str) -> None:
    """torchvision's CPU kernel crashes, so that no guard sees a loss."""
    expected = pool(features(), ROIS, mode, ratio)
    for coordinate in range(5):
        rois, feat = ROIS.clone(), features()
        rois[1, coordinate] = number
        output = pool(feat, rois, mode, ratio)
        assert output[1].isnan().all()
        assert torch.equal(output[[0, 2, 3]], expected[[0, 2, 3]])
        output.sum().backward()
        assert feat.grad[0].isfinite().all() and not feat.grad[1].any()


def test_a_roi_of_too_many_samples_raises() -> None:
    rois = ROIS.clone()
    rois[1, 4] = 1e20
    with pytest.raises(RuntimeError, match='of less than'):
        pool(features(), rois, 'avg', 0)
    assert pool(features(), rois, 'avg', 2).isfinite().all()


@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_a_roi_of_negative_size_has_no_samples(mode: str) -> None:
    rois = ROIS[:1, [0, 3, 2, 1, 4]]  # x1 and x2 in each other's place
    feat = features()
    output = pool(feat, rois, mode, 0)
    output.sum().backward()
    assert not output.any() and not feat.grad.any()


@pytest.mark.parametrize('image', [-1.0, 2.0])
def test_a_roi_of_no_image_raises(image: float) -> None:
    rois = ROIS.clone()
    rois[1, 0] = image
    feat = features()
    with pytest.raises(RuntimeError, match='for 2 images'):
        pool(feat, rois, 'avg', 2)
    argmax, total = torch.zeros(0), torch.zeros(2, 3, 6, 7)
    with pytest.raises(RuntimeError, match='for 2 images'):
        our_ops.roi_align_backward(
            *(torch.ones(4, 3, 2, 3), rois, argmax, argmax, total),
            *(2, 3, SCALE, 2, 1, True),
        )


def test_max_at_a_roi_without_area() -> None:
    feat, roi = features().detach(), ROIS[3:]
    output, argmax = torch.ones(1, 3, 2, 3), torch.zeros(1, 3, 2, 3)
    our_ops.roi_align_forward(
        feat, roi, output, argmax, argmax, 2, 3, SCALE, 0, pool_mode=0, aligned=True
    )
    assert not output.any()
    # Unaligned, it is one cell large: one sample per bin, so the maximum is the mean.
    mean, maximum = (pool(feat, roi, mode, 0, False) for mode in ('avg', 'max'))
    assert mean.all() and torch.equal(maximum, mean)
