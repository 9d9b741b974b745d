"""What both backbones keep to for any settings, image, dtype and layout in memory."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_strategies import (
    ALL_VALUES,
    BACKBONES,
    FLOATS,
    SEEDS,
    Model,
    assert_same,
    columns,
    maps,
    sizes_of,
)
from torch import Tensor, nn

from mmpatchconvnet import PatchConvNet
from mmpatchconvnet.deploy import switch_to_deploy

DATA = st.data()


def channels(model: Model) -> int:
    return model.settings['in_channels']


@given(BACKBONES, DATA)
def test_maps_have_the_promised_shape_dtype_and_layout_and_are_finite(model, data):
    dtypes = (*FLOATS, torch.float16, torch.uint8)
    x = data.draw(maps(channels(model), dtypes=dtypes, values=ALL_VALUES))
    dtype = data.draw(st.sampled_from(FLOATS))
    with torch.no_grad():
        outputs = model.build(dtype=dtype)(x)
    strides = [stride for _, stride in model.levels]
    sizes = zip(model.levels, sizes_of(x, strides), strict=True)
    expected = [(len(x), width, *size) for (width, _), size in sizes]
    assert [tuple(y.shape) for y in outputs] == expected
    # oneDNN's bfloat16 convolution on AMX is wrong where it returns a single column.
    sound = dtype != torch.bfloat16 or x.shape[3] > 32
    for y in outputs:
        assert y.dtype == dtype and (y.isfinite().all() or not sound)
        assert y.is_contiguous() or not x.is_contiguous()


@given(BACKBONES, DATA)
def test_pictures_of_a_batch_are_independent(model, data):
    x = data.draw(maps(channels(model), batches=st.integers(2, 3)))
    backbone = model.build()
    if data.draw(st.booleans()):
        switch_to_deploy(backbone)
    with torch.no_grad():
        whole = backbone(x)
        for i, one in enumerate(x.split(1)):
            assert_same([y[i : i + 1] for y in whole], backbone(one))


@given(BACKBONES, DATA, SEEDS)
def test_folded_for_inference_it_returns_the_same(model, data, seed):
    dtype = data.draw(st.sampled_from((torch.float32, torch.float64)))
    x = data.draw(maps(channels(model), dtypes=(dtype,), values=('noise', 'zero')))
    backbone = model.build(seed, dtype)
    with torch.no_grad():
        before = backbone(x)
        assert_same(switch_to_deploy(backbone)(x), before)


@given(BACKBONES, DATA)
def test_folded_it_passes_the_same_gradient_to_the_image(model, data):
    # Of equal values, rounding decides to which one max pooling passes the gradient.
    x = data.draw(maps(channels(model), longest=70, values=('noise',)))
    backbone = model.build()
    eager = gradient_of_image(backbone, x)
    assert_same([gradient_of_image(switch_to_deploy(backbone), x)], [eager])


def gradient_of_image(backbone: nn.Module, x: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(sum(y.sin().sum() for y in backbone(x)), x)[0]


def trained(model: Model, x: Tensor, **changes: Any) -> list[Any]:
    """Maps, gradients and statistics of a training step."""
    backbone = model.build(**changes).train()
    x = x.detach().clone().requires_grad_()
    torch.manual_seed(0)  # of stochastic depth
    outputs = backbone(x)
    sum(y.sin().sum() for y in outputs).backward()
    gradients = [p.grad for p in backbone.parameters()]
    momenta = {getattr(module, 'momentum', 0.1) for module in backbone.modules()}
    assert momenta == {0.1}  # which checkpointing sets to 0 for a while
    return [*outputs, x.grad, *gradients, *backbone.buffers()]


@given(BACKBONES, DATA)
def test_every_way_to_train_gives_the_same(model, data):
    """Implementations of the block, checkpointing and layouts, also of no picture."""
    batches = st.integers(2 if model.counts else 0, 3)
    x = data.draw(maps(channels(model), batches, 100, values=ALL_VALUES))
    shared = dict(drop_path_rate=data.draw(st.sampled_from((0.0, 0.4))))
    ways = dict(
        with_cp=st.sampled_from((False, True, 2, 3)), channels_last=st.booleans()
    )
    if model.kind is PatchConvNet and not model.settings['norm_cfg']:
        ways['block_impl'] = st.sampled_from(('lean', 'triton', 'eager'))
    way = data.draw(st.fixed_dictionaries(ways))
    expected = trained(model, x, **shared)
    assert all(one.isfinite().all() for one in expected)
    found = trained(model, x, **shared, **way)
    # Where all values are equal, a BatchNorm in training enlarges rounding.
    if not model.counts or x.std():
        assert_same(found, expected)


@given(BACKBONES, DATA)
def test_frozen_parts_stay_and_others_get_a_gradient(model, data):
    count = max(i % 4 for i in model.settings['out_indices']) + 1
    if model.kind is PatchConvNet:
        depth = model.settings['arch']['depth']
        count = max(i % depth for i in model.settings['out_indices']) + 1
    frozen = data.draw(st.integers(-1, count))
    backbone = model.build(frozen_stages=frozen).train()
    parts = [backbone.stem, *getattr(backbone, backbone.parts)]
    x = data.draw(maps(channels(model), st.just(2), 70))
    outputs = backbone(x)
    if any(y.requires_grad for y in outputs):
        sum(y.sin().sum() for y in outputs if y.requires_grad).backward()
    for i, part in enumerate(parts):
        assert part.training == (i > frozen)
        for parameter in part.parameters():
            assert parameter.requires_grad == (i > frozen)
            assert (parameter.grad is not None) == (i > frozen)


# Each compiles for seconds, so `make test` leaves them to `make test-long`.
@pytest.mark.skipif(settings().max_examples < 300, reason='make test-long runs it')
@settings(max_examples=max(1, settings().max_examples // 30))
@given(BACKBONES, DATA)
def test_compiled_it_gives_the_same(model, data):
    x = data.draw(maps(channels(model), st.integers(1, 3), 70, values=('noise',)))
    backbone = model.build()
    torch.compiler.reset()
    compiled = torch.compile(backbone, backend='aot_eager')
    with torch.no_grad():
        assert_same(compiled(x), backbone(x))
    assert_same([gradient_of_image(compiled, x)], [gradient_of_image(backbone, x)])


@given(BACKBONES, DATA)
def test_images_that_are_empty_or_of_other_channels_are_refused(model, data):
    shape = [1, channels(model), 8, 8]
    dimension = data.draw(st.integers(1, 3))
    shape[dimension] = 0 if dimension > 1 else shape[1] + 1
    with pytest.raises(ValueError, match=r'got (images|a tensor) of shape .*: give '):
        model.build()(torch.zeros(shape))


@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning')
@given(columns(), DATA)
def test_tracing_keeps_no_size(model, data):
    images = maps(channels(model), st.integers(1, 2), 70, values=('noise',))
    first, other = data.draw(images), data.draw(images)
    backbone = model.build()
    with torch.no_grad():
        traced = torch.jit.trace(backbone, first, check_trace=False)
        assert_same(traced(other), backbone(other))
