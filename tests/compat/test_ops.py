"""mmcv's compiled ops, computed by torchvision, called as mmcv calls them.

The goldens were recorded with the compiled ops, see ``mmpatchconvnet/compat/ops.py``.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

# Imported first, so that `mmcv.ops` finds its `_ext`.
from mmpatchconvnet.compat import ops as our_ops

# isort: split
from mmcv import ops

if ops.info.ext_module.nms is not our_ops.nms:
    pytest.skip('this mmcv has compiled ops', allow_module_level=True)

HALVES = [torch.float16, torch.bfloat16]
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


@pytest.fixture(scope='module')
def goldens() -> dict[str, Tensor]:
    with np.load(Path(__file__).parents[1] / 'data' / 'mmcv_ops.npz') as file:
        return {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}


def features(dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 6, 7, generator=generator).to(dtype).requires_grad_()


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return float((actual.detach() - expected).abs().max() / expected.abs().max())


def pool(
    feat: Tensor, rois: Tensor, mode: str, ratio: int, aligned: bool = True
) -> Tensor:
    return ops.roi_align(feat, rois, (2, 3), SCALE, ratio, mode, aligned)


# --- NMS ------------------------------------------------------------------------------


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


# --- RoIAlign -------------------------------------------------------------------------


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
        lambda feat: pool(feat, rois, mode, ratio, aligned), features(torch.float64)
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


# --- Sigmoid focal loss ---------------------------------------------------------------


def plain_focal_loss(
    logits: Tensor, target: Tensor, gamma: float, alpha: float
) -> Tensor:
    p = logits.sigmoid()
    hit = F.one_hot(target, logits.shape[1] + 1)[:, :-1]  # the last class: background
    return -(
        hit * alpha * (1 - p) ** gamma * p.log()
        + (1 - hit) * (1 - alpha) * p**gamma * (1 - p).log()
    )


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize(('gamma', 'alpha'), [(2.0, 0.25), (1.5, 0.6), (0.0, 0.5)])
def test_focal_loss(gamma: float, alpha: float, weighted: bool) -> None:
    logits = 3 * features(torch.float64).detach().view(-1, 4)[:12]
    target = torch.arange(12) % (4 if weighted else 5)  # 4 is background
    weight = torch.rand(4, dtype=torch.float64) if weighted else None
    ours, plain = (logits.clone().requires_grad_() for _ in range(2))

    loss = ops.sigmoid_focal_loss(ours, target, gamma, alpha, weight, 'none')
    expected = plain_focal_loss(plain, target, gamma, alpha)
    if weight is not None:
        expected = expected * weight[target][:, None]
    torch.testing.assert_close(loss, expected)
    loss.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad)


@pytest.mark.parametrize('dtype', HALVES)
def test_focal_loss_in_half_precision(dtype) -> None:
    half = (200 * features(dtype).detach().view(-1, 4)).requires_grad_()
    wide = half.detach().float().requires_grad_()
    target = torch.arange(len(half)) % 5
    got, want = (
        ops.sigmoid_focal_loss(x, target, 2.0, 0.25, None, 'none') for x in (half, wide)
    )
    assert want.isfinite().all()
    assert torch.equal(got, want.to(dtype))
    got.sum().backward()
    want.sum().backward()
    assert torch.equal(half.grad, wide.grad.to(dtype))


def test_focal_loss_edges() -> None:
    logits = torch.zeros(0, 4, requires_grad=True)
    loss = ops.sigmoid_focal_loss(logits, torch.zeros(0).long(), 2.0, 0.25, None, 'sum')
    loss.backward()
    assert loss == 0 and logits.grad.shape == (0, 4)

    with pytest.raises(IndexError):  # mmcv reads past the end of the weight
        ops.sigmoid_focal_loss(
            torch.zeros(1, 4), torch.tensor([4]), 2.0, 0.25, torch.ones(4)
        )


# --- Everything else ------------------------------------------------------------------


def test_an_unsupported_op_raises_with_its_name_and_the_remedy() -> None:
    conv = ops.ModulatedDeformConv2dPack(3, 4, 3)
    with pytest.raises(NotImplementedError) as error:
        conv(torch.zeros(1, 3, 8, 8))
    message = str(error.value)
    assert 'modulated_deform_conv_forward' in message
    assert 'no compiled ops' in message
    assert 'https://mmcv.readthedocs.io' in message


def test_private_names_are_absent() -> None:
    for name in ('__path__', '_anything', 'pytest_plugins'):
        with pytest.raises(AttributeError, match=name):
            getattr(our_ops, name)


def test_the_environment_report_works() -> None:
    assert 'torchvision' in ops.get_compiler_version()
    assert isinstance(ops.get_compiling_cuda_version(), str)
