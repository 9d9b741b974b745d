"""The folded block: equal on every path, and differentiable in its input."""

import pytest
import torch

from mmpatchconvnet import PatchConvNet
from mmpatchconvnet.compat import processor
from mmpatchconvnet.compat.doctor import look_at_products
from mmpatchconvnet.models.block import cpu
from mmpatchconvnet.models.block.folded import FoldedBlock

ARCH = dict(embed_dims=32, depth=2, layer_scale_init_value=0.5)


@pytest.fixture
def choose_library(monkeypatch):
    """Sets the variable that chooses the library of the products."""

    def choose(name: str) -> None:
        monkeypatch.setenv(processor.VARIABLE, name)
        processor.product_library.cache_clear()

    yield choose
    monkeypatch.undo()
    processor.product_library.cache_clear()


def random_column(**settings) -> PatchConvNet:
    torch.manual_seed(0)
    column = PatchConvNet(ARCH, **settings)
    for parameter in column.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return column.eval()


def folded_block(dtype: torch.dtype = torch.float32) -> FoldedBlock:
    column = random_column()
    column.switch_to_deploy()
    return column.blocks[0].to(dtype)


@pytest.mark.parametrize('library', processor.product_libraries())
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
# One large picture has the gate in the weight, others in the map.
@pytest.mark.parametrize('size', [(2, 7, 5), (1, 1, 1), (1, 16, 16), (2, 16, 16)])
def test_the_cpu_path_equals_the_eager_one(library, dtype, size, choose_library):
    choose_library(library)
    block = folded_block(dtype)
    x = torch.randn(*size, 32).to(dtype)  # tokens (B, H, W, C)
    if not cpu.can_run(x, block.linear_in.weight):
        pytest.skip(f'oneDNN has no {dtype} on this CPU')
    given, y = x.clone(), x.sin()
    ours, theirs = block.run_cpu(x, y), block.run_eager(x, y)
    assert ours.dtype == theirs.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()
    assert torch.equal(x, given), 'an earlier map may be a tap'


@pytest.mark.parametrize('capability', ['DEFAULT', 'SVE256', 'AVX2', 'AVX512'])
@pytest.mark.parametrize('own', ['mkl', 'torch'])
def test_the_processor_chooses_the_library(
    capability, own, choose_library, monkeypatch
):
    monkeypatch.delenv(processor.VARIABLE, raising=False)
    monkeypatch.setattr(processor, 'cpu_capability', lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, 'is_available', lambda: own == 'mkl')
    processor.product_library.cache_clear()
    expected = 'onednn' if capability == 'AVX512' else own
    assert processor.product_library() == expected
    assert look_at_products().state.startswith(f'{expected} with')
    choose_library('onednn')
    assert processor.product_library() == 'onednn'


@pytest.mark.parametrize(
    ('name', 'own'), [('blis', 'mkl'), ('torch', 'mkl'), ('mkl', 'torch')]
)
def test_a_library_that_torch_lacks_is_refused(name, own, choose_library, monkeypatch):
    monkeypatch.setattr(torch.backends.mkl, 'is_available', lambda: own == 'mkl')
    choose_library(name)
    with pytest.raises(ValueError, match=f"CPU_PRODUCTS='{name}'.*onednn or {own}"):
        processor.product_library()


@pytest.mark.parametrize('block_impl', ['eager', 'lean', 'triton'])
@pytest.mark.parametrize('size', [(48, 64), (16, 16)])
def test_the_image_gets_the_gradient_of_the_unfolded_column(block_impl, size):
    column = random_column(block_impl=block_impl)
    x = torch.randn(2, 3, *size, requires_grad=True)
    (before,) = torch.autograd.grad(column(x)[0].sin().sum(), x)
    column.switch_to_deploy()
    (after,) = torch.autograd.grad(column(x)[0].sin().sum(), x)
    assert (after - before).abs().max() <= 1e-4 * before.abs().max()


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_a_folded_column_has_shapes_on_the_meta_device(dtype):
    column = random_column()
    column.switch_to_deploy()
    (x,) = column.to('meta', dtype)(torch.empty(1, 3, 40, 72, device='meta'))
    assert (tuple(x.shape), x.dtype) == ((1, 32, 3, 5), dtype)


def test_a_column_that_cannot_be_folded_stays_as_it_is():
    column = PatchConvNet(ARCH, norm_cfg=dict(type='GN', num_groups=4)).train()
    before = dict(column.named_modules())
    with pytest.raises(ValueError, match=r'GroupNorm.*LayerNorm or BatchNorm'):
        column.switch_to_deploy()
    assert dict(column.named_modules()) == before
    assert column.training and all(p.requires_grad for p in column.parameters())
