"""The lean block: equal to the eager one, forward and backward, with three maps."""

import pytest
import torch
from mmengine.utils import digit_version
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import gradcheck
from torch.utils.flop_counter import FlopCounterMode

from mmpatchconvnet import PatchConvNet
from mmpatchconvnet.models.block.lean import GatedResidual, GeluDepthwise, NormLinear
from mmpatchconvnet.models.patchconvnet import PatchConvBlock

ARCH = dict(embed_dims=32, depth=3, layer_scale_init_value=0.5)


def pair_of_columns(**settings) -> tuple[PatchConvNet, PatchConvNet]:
    """A plain and a lean column of the same weights, none of them trivial."""
    plain = PatchConvNet(ARCH, out_indices=(0, 2), **settings)
    lean = PatchConvNet(ARCH, out_indices=(0, 2), block_impl='lean', **settings)
    for parameter in plain.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    lean.load_state_dict(plain.state_dict())
    return plain, lean


def results(column: PatchConvNet, x: torch.Tensor) -> list[torch.Tensor]:
    """The maps, and the gradients of the image and of every parameter."""
    x = x.clone().requires_grad_()
    torch.manual_seed(1)
    maps = column(x)
    sum(y.float().sin().sum() for y in maps).backward()
    return [*maps, x.grad, *(parameter.grad for parameter in column.parameters())]


@pytest.mark.parametrize('memory_format', ['contiguous_format', 'channels_last'])
@pytest.mark.parametrize('settings', [{}, dict(drop_path_rate=0.5), dict(with_cp=True)])
def test_equals_the_plain_block(settings, memory_format):
    torch.manual_seed(0)
    x = torch.randn(4, 3, 48, 80, dtype=torch.float64)
    x = x.to(memory_format=getattr(torch, memory_format))
    plain, lean = (column.double() for column in pair_of_columns(**settings))
    for theirs, ours in zip(results(plain, x), results(lean, x), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize('frozen_stages', [1, 3])
def test_frozen_blocks_get_no_gradient(frozen_stages):
    x = torch.randn(2, 3, 32, 48)
    plain, lean = pair_of_columns(frozen_stages=frozen_stages)
    for theirs, ours in zip(results(plain, x), results(lean, x), strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


KEEP_MASK = torch.tensor([0.0, 2.0], dtype=torch.float64).view(-1, 1, 1, 1)
MAP = (2, 3, 2, 4)


@pytest.mark.parametrize(
    ('function', 'inputs'),
    [
        (NormLinear, [MAP, (4,), (4,), 1e-6, (4, 4), (4,)]),
        (GeluDepthwise, [MAP, (4, 9), (4,)]),
        (
            GatedResidual,
            [MAP, MAP, KEEP_MASK, (2, 4), (2,), (4, 2), (4,), (4, 4), (4,), (4,)],
        ),
    ],
)
def test_gradients_equal_finite_differences(function, inputs):
    torch.manual_seed(0)
    given = [random(*x) if isinstance(x, tuple) else x for x in inputs]
    assert gradcheck(function.apply, given)


@pytest.mark.parametrize(('block_impl', 'expected'), [('eager', 8), ('lean', 3)])
def test_maps_kept_for_the_backward_pass(block_impl, expected):
    block = PatchConvBlock(32, 0.5, 0.0, block_impl=block_impl)
    x = torch.randn(2, 32, 64, 64).to(memory_format=torch.channels_last)
    kept: dict[int, float] = {}  # in maps, by address: a map kept twice counts once

    def count(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.data_ptr()] = tensor.numel() / x.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        block(x.requires_grad_())
    assert expected <= sum(kept.values()) < expected + 0.1


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_mixed_precision_is_as_exact_as_the_plain_block(dtype):
    torch.manual_seed(0)
    plain, lean = pair_of_columns()
    x = torch.randn(2, 3, 64, 64)
    truth = results(plain.double(), x.double())
    plain.float().zero_grad()
    with torch.autocast('cpu', dtype, enabled=dtype != torch.float32):
        theirs, ours = results(plain, x), results(lean, x)
    for exact, a, b in zip(truth, theirs, ours, strict=True):
        assert a.dtype == b.dtype
        scale = exact.abs().max()
        error_a, error_b = ((y - exact).abs().max() / scale for y in (a, b))
        assert error_b < 2 * error_a + 1e-6


@pytest.mark.parametrize('gamma', [1e-6, 1e-4, 0.0])
@pytest.mark.parametrize('block_impl', ['lean', 'triton'])
def test_float16_loses_no_gradient_to_a_small_layer_scale(gamma, block_impl):
    torch.manual_seed(0)
    plain = PatchConvBlock(64, gamma, 0.0)
    lean = PatchConvBlock(64, gamma, 0.0, block_impl=block_impl)
    lean.load_state_dict(plain.state_dict())
    x, scale = torch.randn(2, 64, 16, 16), 2.0**16  # of the loss, as in AMP
    gradients = []
    for block, half in ((plain.double(), False), (lean, True)):
        y = x.double() if not half else x
        with torch.autocast('cpu', torch.float16, enabled=half):
            (block(y).sin().sum() * scale).backward()
        gradients.append([p.grad.double() / scale for p in block.parameters()])
    for exact, ours in zip(*gradients, strict=True):
        assert (ours - exact).abs().max() <= 2e-2 * exact.abs().max()


def test_without_gradients_the_eager_block_runs():
    plain, lean = pair_of_columns()
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        for theirs, ours in zip(plain(x), lean(x), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    'settings',
    [
        {},
        pytest.param(
            dict(drop_path_rate=0.5, with_cp=True),
            marks=pytest.mark.skipif(
                digit_version(torch.__version__) < digit_version('2.9'),
                reason='older torch recomputes nothing on the meta device',
            ),
        ),
    ],
)
def test_multiply_adds_can_be_counted_on_the_meta_device(settings):
    counts = []
    for column in pair_of_columns(**settings):
        with FlopCounterMode(display=False) as counter, torch.device('meta'):
            maps = results(column.to('meta'), torch.empty(2, 3, 32, 48))
        assert {y.device.type for y in maps} == {'meta'}
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1]


@pytest.mark.parametrize('dtype', [None, torch.bfloat16])
def test_fake_tensors_have_the_same_shapes_and_dtypes(dtype):
    def described() -> list[tuple]:
        column = PatchConvNet(ARCH, block_impl='lean')
        with torch.autocast('cpu', dtype, enabled=dtype is not None):
            return [
                (y.shape, y.dtype) for y in results(column, torch.ones(1, 3, 32, 48))
            ]

    with FakeTensorMode():
        fake = described()
    assert fake == described()


def test_another_norm_is_an_error():
    with pytest.raises(ValueError, match="block_impl='lean' needs LayerNorm"):
        PatchConvNet(ARCH, block_impl='lean', norm_cfg=dict(type='BN'))


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_an_empty_batch_has_gradients(dtype):
    plain, lean = pair_of_columns()
    x = torch.randn(0, 3, 32, 48)
    with torch.autocast('cpu', dtype, enabled=dtype != torch.float32):
        for theirs, ours in zip(results(plain, x), results(lean, x), strict=True):
            torch.testing.assert_close(ours, theirs)
