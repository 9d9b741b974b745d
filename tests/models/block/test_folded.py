"""The folded block: equal in every implementation, differentiable in its input."""

import re

import pytest
import torch

from mmpatchconvnet import PatchConvNet
from mmpatchconvnet.compat import processor
from mmpatchconvnet.compat.doctor import check_cpu_products
from mmpatchconvnet.deploy import switch_to_deploy
from mmpatchconvnet.models import backbone
from mmpatchconvnet.models.block import cpu
from mmpatchconvnet.models.block.eager import PatchConvBlock
from mmpatchconvnet.models.block.folded import FoldedBlock

ARCH = dict(embed_dims=32, depth=2, layer_scale_init_value=0.5)


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
# A single large image multiplies the gate into the weight, others into the map.
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
    assert check_cpu_products().state.startswith(f'{expected} with')
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


class Doubled(PatchConvBlock):
    def forward(self, x):
        return 2 * super().forward(x)


class DoubledConv(torch.nn.Conv2d):
    def forward(self, x):
        return super().forward(x) * 2


def replace_block(column):
    column.blocks[1] = Doubled(32, 0.5, 0.0)


def dilate(column):
    column.blocks[1].depthwise.dilation = column.blocks[1].depthwise.padding = (2, 2)


def replace_part(column):
    column.blocks[1].pointwise_out = DoubledConv(32, 32, 1)


def replace_gate(column):
    column.blocks[1].gate = torch.nn.Identity()


def replace_norm(column):
    column.blocks[1].norm = torch.nn.GroupNorm(4, 32)


def use_batch_statistics(column):
    column.blocks[1].norm = torch.nn.BatchNorm2d(32, track_running_stats=False)


def wrap_forward(column):
    forward = column.blocks[1].forward
    column.blocks[1].forward = lambda x: 2 * forward(x)


def pad_stem_in_circles(column):
    column.stem.convs[1] = torch.nn.Conv2d(
        4, 8, 3, 2, 1, bias=False, padding_mode='circular'
    )


def replace_stem(column):
    class Stem(type(column.stem)):
        def forward(self, x):
            return [2 * y for y in super().forward(x)]

    column.stem.__class__ = Stem


@pytest.mark.parametrize('dtype', [None, torch.bfloat16])
@pytest.mark.parametrize(
    ('change', 'line'),
    [
        (replace_block, r'1 of 2 blocks \(Doubled may'),
        (dilate, r'1 of 2 blocks \(depthwise has other settings'),
        (replace_part, r'1 of 2 blocks \(DoubledConv may'),
        (replace_gate, r'1 of 2 blocks \(Identity may'),
        (replace_norm, r'1 of 2 blocks \(GroupNorm cannot be folded'),
        (use_batch_statistics, r'1 of 2 blocks \(BatchNorm2d cannot be folded'),
        (wrap_forward, r'1 of 2 blocks \(PatchConvBlock may'),
        (pad_stem_in_circles, r'the stem \(convs.1 has other settings'),
        (replace_stem, r'the stem \(Stem may'),
    ],
)
def test_what_may_compute_otherwise_is_left_and_named(change, line, dtype, monkeypatch):
    lines = []
    monkeypatch.setattr(backbone, 'print_log', lambda text, _: lines.append(text))
    column = random_column(out_indices=(0, 1))
    change(column)
    column.eval()
    x = torch.randn(2, 3, 48, 80)
    with torch.no_grad():
        before = column(x)
        after = switch_to_deploy(column, dtype)(x)
    for ours, theirs in zip(after, before, strict=True):
        tolerance = 1e-5 if dtype is None else 5e-2
        assert ours.dtype == (dtype or torch.float32)
        assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()
    assert len(lines) == 1 and re.search(line, lines[0])
    assert isinstance(column.blocks[0], FoldedBlock)


@pytest.mark.parametrize('register', ['forward_hook', 'forward_pre_hook'])
@pytest.mark.parametrize('name', ['blocks.1', 'blocks.1.norm', 'stem', 'stem.convs.2'])
def test_hooks_are_still_called(name, register):
    column, calls = random_column(), []
    part = column.get_submodule(name)
    getattr(part, f'register_{register}')(lambda *args: calls.append(args))
    column.switch_to_deploy()
    column(torch.randn(1, 3, 48, 80))
    assert len(calls) == 1


def test_backward_hooks_are_still_called():
    column, calls = random_column(), []
    column.blocks[1].register_full_backward_hook(lambda *args: calls.append(args))
    column.switch_to_deploy()
    column(torch.randn(1, 3, 48, 80, requires_grad=True))[0].sum().backward()
    assert len(calls) == 1


def test_a_column_of_another_norm_is_not_folded():
    column = PatchConvNet(ARCH, norm_cfg=dict(type='GN', num_groups=4))
    column.switch_to_deploy()
    assert not any(isinstance(block, FoldedBlock) for block in column.blocks)
    assert not column.training
