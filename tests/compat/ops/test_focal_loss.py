"""The sigmoid focal loss equals its formula."""

import pytest
import torch
import torch.nn.functional as F
from mmcv import ops
from op_checks import HALVES, features
from torch import Tensor


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
