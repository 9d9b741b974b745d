"""What pooling, pyramids and attention keep to for any settings, map and layout."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from model_strategies import (
    ALL_VALUES,
    FLOATS,
    SEEDS,
    Model,
    assert_same,
    maps,
    pyramids,
    random_weights,
    sizes_of,
)
from torch import Tensor

from mmpatchconvnet import HMHSA, AttentionPooling, SimplePyramid
from mmpatchconvnet.deploy import switch_to_deploy

DATA = st.data()


@st.composite
def poolings(draw) -> Model:
    heads = draw(st.integers(1, 3))
    settings = dict(
        in_channels=heads * draw(st.integers(1, 5)),
        num_tokens=draw(st.integers(1, 5)),
        num_heads=heads,
        mlp_ratio=draw(st.sampled_from((1.0, 1.5, 3.0))),
    )
    return Model(AttentionPooling, settings, (), False)


@st.composite
def attentions(draw) -> Model:
    grid, head = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    settings = dict(
        in_channels=head * draw(st.integers(1, 3)),
        head_dims=head,
        grid_size=grid,
        pool_ratio=draw(st.integers(1, 4)) if grid > 1 else 1,
        norm_cfg=draw(st.sampled_from((None, dict(type='BN')))),
    )
    return Model(HMHSA, settings, (), False)


@given(poolings(), DATA)
def test_pooled_tokens_are_finite_and_attention_is_a_share_of_the_map(model, data):
    width, count = model.settings['in_channels'], model.settings['num_tokens']
    dtype = data.draw(st.sampled_from(FLOATS))
    x = data.draw(maps(width, longest=40, dtypes=(dtype,), values=ALL_VALUES))
    pool = model.build(dtype=dtype)
    with torch.no_grad():
        (alone,) = pool(x)
        (pooled,), attention = pool((x[:, :, :1], x), return_attention=True)
    assert pooled.shape == ((len(x), width) if count == 1 else (len(x), count, width))
    assert pooled.dtype == alone.dtype == dtype and pooled.isfinite().all()
    assert attention.shape[:3] == (len(x), model.settings['num_heads'], count)
    assert attention.shape[3:] == x.shape[2:]
    assert (attention >= 0).all()
    total = attention.float().sum((3, 4))
    assert (total < 1.05).all() and (count == 1 or (total > 0.95).all())
    if dtype != torch.bfloat16:
        assert_same([pooled], [alone])


@given(poolings(), DATA)
def test_pooling_is_the_same_one_by_one_shuffled_folded_and_in_gradients(model, data):
    x = data.draw(maps(model.settings['in_channels'], st.integers(2, 3), 40))
    pool = model.build()
    whole, gradient = with_gradient(pool, x)
    for i, one in enumerate(x.split(1)):
        assert_same(pool(one), [whole[i : i + 1]])
    cells = x.flatten(2)
    order = torch.randperm(cells.shape[2], generator=torch.Generator().manual_seed(0))
    assert_same(pool(cells[:, :, order].view(x.shape)), [whole])
    assert_same(with_gradient(switch_to_deploy(pool), x), [whole, gradient])


def with_gradient(module: torch.nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """The first output, and the gradient of a function of it."""
    x = x.detach().clone().requires_grad_()
    output = module(x)
    first = output if isinstance(output, Tensor) else output[0]
    return first.detach(), torch.autograd.grad(first.sin().sum(), x)[0]


@given(attentions(), DATA, SEEDS)
def test_attention_is_the_same_one_by_one_and_folded(model, data, seed):
    # Norms enlarge rounding where all values are equal, and refuse a single one.
    assume(model.settings['in_channels'] > 1)
    x = data.draw(maps(model.settings['in_channels'], longest=40, values=('noise',)))
    layer = model.build(seed)
    y, gradient = with_gradient(layer, x)
    assert y.shape == x.shape and y.isfinite().all() and gradient.isfinite().all()
    for i, one in enumerate(x.split(1)):
        assert_same([layer(one)], [y[i : i + 1]])
    assert_same(with_gradient(switch_to_deploy(layer), x), [y, gradient])
    layer = model.kind(**model.settings).double().eval()  # its gamma is 0
    assert torch.equal(layer(x), x)


def inputs_of(model: Model, image: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """The stem's maps and the taps that a column makes of an image."""
    settings, generator = model.settings, torch.Generator().manual_seed(0)
    stride = settings['patch_size']
    strides = [int(stride / scale) for scale in settings['stem_scales']]
    taps = [settings['in_channels']] * len(settings['scales'])
    widths = [*settings['stem_channels'], *taps]
    strides += [stride] * len(taps)
    sizes = sizes_of(image, strides)
    return [
        torch.randn(len(image), width, *size, generator=generator).to(dtype)
        for width, size in zip(widths, sizes, strict=True)
    ]


@given(pyramids(), DATA)
def test_levels_have_the_promised_shapes_and_are_those_of_single_pictures(model, data):
    image = data.draw(maps(1, values=('zero',)))
    dtype = data.draw(st.sampled_from(FLOATS))
    neck = model.build(dtype=dtype)
    inputs = inputs_of(model, image, dtype)
    column = model.settings['patch_size']
    height, width = sizes_of(image, [column])[0]
    with torch.no_grad():
        levels = neck(inputs)
        for level, (channels, stride) in zip(levels, model.levels, strict=True):
            rows, columns = (-(-n * column // stride) for n in (height, width))
            assert level.shape == (len(image), channels, rows, columns)
            assert level.dtype == dtype and level.isfinite().all()
        if dtype != torch.bfloat16:
            for i in range(len(image)):
                single = neck([x[i : i + 1] for x in inputs])
                assert_same(single, [level[i : i + 1] for level in levels])
            if model.kind is SimplePyramid:
                stem = len(model.settings['stem_scales'])
                assert_same(neck([*inputs[:stem], inputs[-1]]), levels)


@given(pyramids(), DATA)
def test_every_parameter_of_a_pyramid_gets_a_gradient(model, data):
    """In training, where the norms read the batch."""
    image = data.draw(maps(1, st.just(2), values=('zero',)))
    neck = model.build().train()
    inputs = [x.requires_grad_() for x in inputs_of(model, image, torch.float64)]
    sum(level.sin().sum() for level in neck(inputs)).backward()
    for name, parameter in neck.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@given(pyramids(), DATA)
def test_maps_of_another_number_or_width_are_refused(model, data):
    image = torch.zeros(1, 1, 40, 40)
    inputs = inputs_of(model, image, torch.float64)
    change = data.draw(st.sampled_from(('more', 'wider', 'none', 'one tensor')))
    number = data.draw(st.integers(0, len(inputs) - 1))
    if change == 'wider':
        inputs[number] = torch.cat([inputs[number]] * 2, dim=1)
    elif change == 'more':
        inputs += [inputs[number]] * len(inputs)
        if model.kind is SimplePyramid:
            inputs += [inputs[0]] * 9
    elif change == 'none':
        inputs = []
    else:
        inputs = inputs[number]
    with pytest.raises(ValueError, match=rf'^{model.kind.__name__} got .*: set '):
        model.build()(inputs)


@pytest.mark.cls
@given(st.integers(1, 5), st.integers(1, 8), st.integers(0, 3), SEEDS)
def test_each_token_has_its_own_score_and_the_loss_is_finite(k, width, batch, seed):
    from mmpretrain.structures import DataSample

    from mmpatchconvnet import PerTokenLinearHead, PerTokenMultiLabelHead

    torch.manual_seed(seed)
    tokens = 1e3 * torch.randn(batch, k, width)
    for kind in (PerTokenLinearHead, PerTokenMultiLabelHead):
        loss = dict(type='mmpretrain.CrossEntropyLoss')
        loss['use_sigmoid'] = kind is PerTokenMultiLabelHead
        head = random_weights(kind(k, width, loss=loss), seed)
        scores = head((tokens,))
        expected = torch.einsum('bkc,kc->bk', tokens, head.weight) + head.bias
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-2)
        if batch:
            labels = [DataSample().set_gt_label([i % k]) for i in range(batch)]
            assert head.loss((tokens,), labels)['loss'].isfinite()
            assert len(head.predict((tokens,))) == batch
