"""A column with Triton kernels in its blocks: equal to the plain one."""

import pytest
import torch

from mmpatchconvnet import PatchConvNet
from mmpatchconvnet.models.block.folded import FoldedBlock
from mmpatchconvnet.models.patchconvnet import PatchConvBlock

pytest.importorskip('triton', reason='no triton, which comes with PyTorch for CUDA')

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
ARCH = dict(embed_dims=16, depth=2, layer_scale_init_value=0.5)


def pair_of_columns(**settings) -> tuple[PatchConvNet, PatchConvNet]:
    """A plain and a fused column of the same weights, none of them trivial."""
    torch.manual_seed(0)
    plain = PatchConvNet(ARCH, out_indices=(0, 1), **settings)
    fused = PatchConvNet(ARCH, out_indices=(0, 1), block_impl='triton', **settings)
    for parameter in plain.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    fused.load_state_dict(plain.state_dict())
    return plain.to(DEVICE), fused.to(DEVICE)


def results(column: PatchConvNet, x: torch.Tensor) -> list[torch.Tensor]:
    """The maps, and the gradients of the image and of every parameter."""
    x = x.clone().requires_grad_()
    torch.manual_seed(1)
    maps = column(x)
    sum(y.float().sin().sum() for y in maps).backward()
    return [*maps, x.grad, *(parameter.grad for parameter in column.parameters())]


def errors(ours: list, exact: list) -> list[float]:
    pairs = list(zip(ours, exact, strict=True))
    assert all((a is None) == (b is None) for a, b in pairs)
    return [
        ((a - b).abs().max() / b.abs().max()).item() for a, b in pairs if a is not None
    ]


@pytest.mark.parametrize(
    'settings', [{}, dict(drop_path_rate=0.5), dict(with_cp=True, frozen_stages=1)]
)
def test_equals_the_plain_block_forward_and_backward(settings):
    plain, fused = pair_of_columns(**settings)
    x = torch.randn(2, 3, 32, 48, device=DEVICE)
    assert max(errors(results(fused, x), results(plain, x))) < 1e-4


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_mixed_precision_is_as_close_to_the_truth_as_the_plain_block(dtype):
    plain, fused = pair_of_columns()
    x = torch.randn(2, 3, 64, 64, device=DEVICE)
    exact = results(plain.double(), x.double())
    plain.float().zero_grad()
    with torch.autocast(DEVICE, dtype):
        theirs, ours = results(plain, x), results(fused, x)
    assert [a.dtype for a in ours] == [b.dtype for b in theirs]
    # Triton's interpreter rounds to bfloat16 towards zero, which adds up in sums.
    allowed = 6 if DEVICE == 'cpu' and dtype == torch.bfloat16 else 2
    ours, theirs = errors(ours, exact), errors(theirs, exact)
    assert sum(ours) < allowed / 2 * sum(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a < allowed * b + 2e-3


def test_three_maps_are_kept_for_the_backward_pass():
    block = PatchConvBlock(16, 0.5, 0.0, block_impl='triton').to(DEVICE)
    x = torch.randn(1, 16, 24, 24, device=DEVICE)
    x = x.to(memory_format=torch.channels_last)
    kept: dict[int, float] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.data_ptr()] = tensor.numel() / x.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        block(x.requires_grad_())
    assert 3 <= sum(kept.values()) < 3.1


def test_a_folded_column_keeps_its_kernels(monkeypatch):
    plain, fused = pair_of_columns()
    fused.switch_to_deploy()
    for other in ('run_eager', 'run_cpu'):
        monkeypatch.setattr(FoldedBlock, other, None)
    x = torch.randn(1, 3, 24, 40, device=DEVICE)
    with torch.no_grad():
        assert max(errors(fused(x), plain.eval()(x))) < 1e-5


@pytest.mark.skipif(DEVICE == 'cuda', reason='a GPU runs the kernels')
def test_without_a_gpu_it_is_the_lean_block(monkeypatch):
    _, fused = pair_of_columns()
    lean = PatchConvNet(ARCH, out_indices=(0, 1), block_impl='lean')
    lean.load_state_dict(fused.state_dict())
    monkeypatch.delenv('TRITON_INTERPRET')
    x = torch.randn(1, 3, 32, 48)
    for ours, theirs in zip(results(fused, x), results(lean, x), strict=True):
        assert torch.equal(ours, theirs)


def test_another_norm_is_refused():
    with pytest.raises(ValueError, match=r"block_impl='triton' .*LayerNorm"):
        PatchConvNet(ARCH, block_impl='triton', norm_cfg=dict(type='BN'))
