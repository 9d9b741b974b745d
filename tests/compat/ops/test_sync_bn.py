"""mmcv's SyncBatchNorm in one process is BatchNorm; two are in test_distributed."""

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from mmcv import ops
from torch import Tensor, nn

from mmpatchconvnet.compat import ops as our_ops


@pytest.fixture(scope='module', autouse=True)
def one_process() -> Iterator[None]:
    dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def maps(dtype: torch.dtype = torch.float32, batch: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    given = 5 + 2 * torch.randn(batch, 3, 5, 6, generator=generator)
    return given.to(dtype).requires_grad_()


def norms(**settings: object) -> tuple[nn.Module, nn.Module]:
    """mmcv's and torch's, with the same weights."""
    synced, plain = ops.SyncBatchNorm(3, **settings), nn.BatchNorm2d(3)
    nn.init.normal_(synced.bias)
    plain.load_state_dict(synced.state_dict())
    return synced, plain


@pytest.mark.parametrize('mode', ['default', 'N'])
def test_one_process_is_batch_norm(mode: str) -> None:
    synced, plain = norms(stats_mode=mode)
    ours, theirs = maps(), maps()
    for _ in range(2):  # running statistics
        got, want = synced(ours.to(memory_format=torch.channels_last)), plain(theirs)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(synced.state_dict(), plain.state_dict())
    upstream = torch.randn(want.shape)
    got.mT.backward(upstream.mT)
    want.backward(upstream)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(synced.get_parameter(name).grad, parameter.grad)


def test_half_precision_has_statistics_in_float32() -> None:
    synced, plain = norms()
    half = maps(torch.float16)
    wide = half.detach().float().requires_grad_()
    got, want = synced(half), plain(wide)
    assert got.dtype == torch.float16
    torch.testing.assert_close(got, want.half(), rtol=1e-3, atol=1e-3)
    got.sum().backward()
    want.half().sum().backward()
    torch.testing.assert_close(synced.running_var, plain.running_var)
    torch.testing.assert_close(half.grad, wide.grad.half(), rtol=1e-3, atol=1e-3)


def test_nan_and_no_pictures() -> None:
    synced, _ = norms()
    empty = maps(batch=0)
    synced(empty).sum().backward()
    assert empty.grad.shape == (0, 3, 5, 6) and not synced.weight.grad.any()
    assert not synced.running_mean.any()
    given = maps().detach()
    given[0, 1, 0, 0] = float('nan')
    nan = synced(given).isnan()
    assert nan[:, 1].all() and not nan[:, ::2].any()


def test_neither_parameters_nor_running_statistics() -> None:
    plain = ops.SyncBatchNorm(3, affine=False, track_running_stats=False)
    with torch.no_grad():
        output = plain(maps())
    torch.testing.assert_close(output.mean((0, 2, 3)), torch.zeros(3))
    torch.testing.assert_close(output.var((0, 2, 3), False), torch.ones(3))


def test_gradient_in_float64() -> None:
    """Of the steps themselves: mmcv's Python takes only single and half precision."""
    x = maps(torch.float64).detach()[:, :, 0].requires_grad_()
    weight, bias = torch.randn(2, 3, dtype=torch.float64).requires_grad_()

    class Norm(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight, bias):
            mean, var, std = torch.empty(3, 3, dtype=torch.float64)
            norm, output = torch.empty_like(x), torch.empty_like(x)
            our_ops.sync_bn_forward_mean(x, mean)
            our_ops.sync_bn_forward_var(x, mean, var)
            our_ops.sync_bn_forward_output(
                *(x, mean, var, weight, bias, None, None, norm, std, output),
                eps=1e-5,
                momentum=0.1,
                group_size=1,
            )
            ctx.save_for_backward(norm, std, weight)
            return output

        @staticmethod
        def backward(ctx, grad):
            norm, std, weight = ctx.saved_tensors
            weight_grad, bias_grad = torch.empty(2, 3, dtype=torch.float64)
            x_grad = torch.empty_like(norm)
            our_ops.sync_bn_backward_param(grad, norm, weight_grad, bias_grad)
            our_ops.sync_bn_backward_data(
                grad, weight, weight_grad, bias_grad, norm, std, x_grad
            )
            return x_grad, weight_grad, bias_grad

    assert torch.autograd.gradcheck(Norm.apply, (x, weight, bias))
