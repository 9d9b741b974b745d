"""The Triton kernels against float64, on fresh random maps of any size."""

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip('triton', reason='no triton, which comes with PyTorch for CUDA')

from mmpatchconvnet.models.block.triton import gated_linear, gelu_depthwise
from mmpatchconvnet.models.block.triton.tuning import launch

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
# The error of rounding the result, with a margin for the sums.
TOLERANCE = {torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}
SHAPES = st.tuples(
    st.integers(1, 2), st.integers(1, 11), st.integers(1, 19), st.integers(1, 70)
)
DTYPES = st.sampled_from(list(TOLERANCE))
# Each takes seconds without a GPU.
on_random_maps = settings(max_examples=settings().max_examples // 4)


class Random:
    """Inputs of a kernel and, as float64 with gradients, of its reference."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.kernel: list[torch.Tensor] = []
        self.exact: list[torch.Tensor] = []

    def add(self, *shape: int) -> torch.Tensor:
        x = torch.randn(*shape, device=DEVICE).to(self.dtype)
        self.kernel.append(x)
        self.exact.append(x.double().requires_grad_())
        return x


def assert_close(ours: torch.Tensor, exact: torch.Tensor, dtype: torch.dtype) -> None:
    assert ours.shape == exact.shape
    error = (ours.double() - exact).abs().max()
    assert error <= TOLERANCE[dtype] * (exact.abs().max() + 1)


@on_random_maps
@given(SHAPES, DTYPES)
def test_gelu_depthwise(shape, dtype):
    inputs, channels = Random(dtype), shape[-1]
    for size in (shape, (channels, 9), (channels,)):
        inputs.add(*size)
    x, weight, bias = inputs.exact
    maps = F.gelu(x).permute(0, 3, 1, 2)
    kernels = weight.view(-1, 1, 3, 3)
    exact = F.conv2d(maps, kernels, bias, padding=1, groups=channels)
    exact = exact.permute(0, 2, 3, 1)
    y, mean = gelu_depthwise.gelu_depthwise(*inputs.kernel)
    assert_close(y, exact, dtype)
    assert_close(mean, F.gelu(exact).mean((1, 2)), dtype)

    grad = torch.randn_like(y)
    exact.backward(grad.double())
    x, weight, _ = inputs.kernel
    ours = gelu_depthwise.gelu_depthwise_backward(grad, x, weight)
    for gradient, wanted in zip(ours, inputs.exact, strict=True):
        assert_close(gradient, wanted.grad, dtype)


@on_random_maps
@given(SHAPES, DTYPES, st.booleans())
def test_gated_residual(shape, dtype, scaled):
    inputs, (batch, *_, channels) = Random(dtype), shape
    square, row = (channels, channels), (batch, channels)
    for size in (shape, shape, row, square, row[1:], *[row] * scaled):
        inputs.add(*size)
    x, y, gate, weight, bias, *scale = inputs.exact
    branch = F.linear(F.gelu(y) * gate[:, None, None], weight, bias)
    exact = x + (scale[0][:, None, None] if scaled else 1) * branch
    given = inputs.kernel
    ours = gated_linear.gated_residual(*given)
    assert ours.dtype == dtype
    assert_close(ours, exact, dtype)
    given[0], given[5:] = given[0].float(), [scale.float() for scale in given[5:]]
    ours = gated_linear.gated_residual(*given)  # as in mixed precision
    assert ours.dtype == torch.float32
    assert_close(ours, exact, dtype)


@on_random_maps
@given(SHAPES, DTYPES)
def test_backward_passes_of_the_gate(shape, dtype):
    inputs, (batch, *_, channels) = Random(dtype), shape
    for size in (shape, shape, (batch, channels), (batch, channels)):
        inputs.add(*size)
    grad, y, gate, grad_mean = inputs.kernel
    product = F.gelu(inputs.exact[1]) * inputs.exact[2][:, None, None]
    active = F.gelu(inputs.exact[1])
    loss = (product * grad.double()).sum()
    loss = loss + (active * grad_mean.double()[:, None, None]).sum()
    loss.backward()
    gated, grad_gate = gated_linear.gate_backward(grad, y, gate)
    assert_close(gated, product, dtype)
    assert_close(grad_gate, inputs.exact[2].grad, dtype)
    grad_y = gated_linear.gelu_backward(grad, y, gate, grad_mean)
    assert_close(grad_y, inputs.exact[1].grad, dtype)


def test_maps_of_similar_size_are_tuned_once():
    sizes = []
    kernel = {None: lambda x, size: sizes.append(size)}
    for height, width in ((16, 16), (20, 24), (32, 32)):
        launch(kernel, None, torch.empty(1, height, width, 4))
    assert sizes[0] == sizes[1] < sizes[2]


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from mmpatchconvnet.models.block.triton import gated_linear, gelu_depthwise

def compile(kernel, config, dtype):
    sizes = {**gelu_depthwise.STRIP, **config.kwargs}
    sizes.update(BLOCK_P=gated_linear.BLOCK_P, PRECISION='ieee')
    types, constants, aligned = {}, {}, {}
    for i, argument in enumerate(kernel.arg_names):
        if argument.isupper():
            types[argument], constants[(i,)] = 'constexpr', sizes[argument]
        elif argument in ('rows', 'pixels', 'channels', 'height', 'width', 'size'):
            types[argument] = 'i32'
        else:
            is_sum = argument in ('sums', 'parts')
            types[argument] = '*fp32' if is_sum else f'*{dtype}'
            aligned[(i,)] = [['tt.divisibility', 16]]
    compiled = triton.compile(
        ASTSource(kernel.fn, types, constants, aligned),
        target=GPUTarget('cuda', 90, 32),
        options=dict(num_warps=config.num_warps, num_stages=config.num_stages),
    )
    assert compiled.metadata.shared <= 232448, (kernel.base_fn, dtype, str(config))


def most_memory(configs):
    # The two whose blocks in shared memory are the largest.
    def blocks(config):
        m, n, k = (config.kwargs.get(f'BLOCK_{x}', 1) for x in 'MNK')
        return config.num_stages * (m + n) * k, config.kwargs.get('BLOCK_C', 0)
    return sorted(configs, key=blocks)[-2:]


for module in (gelu_depthwise, gated_linear):
    for name, kernel in vars(module).items():
        if name.endswith('_kernel'):
            for config in most_memory(kernel.configs):
                compile(kernel, config, 'fp32')  # takes most memory
            for dtype in ('fp16', 'bf16'):
                compile(kernel, kernel.configs[0], dtype)
            print(f'{module.__name__}.{name}', len(kernel.configs))
"""


@pytest.mark.slow
def test_kernels_compile_for_a_gpu_without_one():
    environment = {**os.environ, 'TRITON_INTERPRET': '0'}
    command = [sys.executable, '-c', COMPILE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    tuned = dict(line.split() for line in done.stdout.splitlines())
    assert len(tuned) == 5 and all(int(number) > 1 for number in tuned.values())
