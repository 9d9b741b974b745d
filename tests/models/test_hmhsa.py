"""Hierarchical attention: a slow reference, padding, and the layer as a plugin."""

from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

from mmpatchconvnet import HMHSA
from mmpatchconvnet.experiments.complexity import count_macs
from mmpatchconvnet.models.hmhsa import HierarchicalAttention, attend_in_windows

OF_RESNET50 = Path(__file__).parents[2] / 'configs/_base_/transcnn/resnet50-hmhsa.py'
SIDES = st.integers(1, 13)
real_pad = F.pad


def slow_attention(q: Tensor, k: Tensor, v: Tensor, num_heads: int) -> Tensor:
    """Attention of q (B, C, H, W) to k and v (B, C, h, w), one head at a time."""
    heads = []
    split = (x.chunk(num_heads, 1) for x in (q, k, v))
    for one_q, one_k, one_v in zip(*split, strict=True):
        scores = torch.einsum('bcij,bckl->bijkl', one_q, one_k)
        weights = (scores * one_q.shape[1] ** -0.5).flatten(3).softmax(-1)
        heads.append(torch.einsum('bijn,bcn->bcij', weights, one_v.flatten(2)))
    return torch.cat(heads, 1)


def slow_windows(qkv: Tensor, num_heads: int, side: int) -> Tensor:
    """Each window is cut out of the map as far as it lies in it."""
    rows = []
    for top in range(0, qkv.shape[2], side):
        row = [
            qkv[:, :, top : top + side, left : left + side]
            for left in range(0, qkv.shape[3], side)
        ]
        row = [slow_attention(*window.chunk(3, 1), num_heads) for window in row]
        rows.append(torch.cat(row, 3))
    return torch.cat(rows, 2)


def slow_means(x: Tensor, side: int) -> Tensor:
    """The mean of each square as far as it lies in the map."""
    return torch.stack(
        [
            torch.stack(
                [
                    x[:, :, top : top + side, left : left + side].mean((2, 3))
                    for left in range(0, x.shape[3], side)
                ],
                -1,
            )
            for top in range(0, x.shape[2], side)
        ],
        -2,
    )


@given(SIDES, SIDES, st.integers(1, 6), st.integers(1, 6))
def test_a_slow_reference_gives_the_same_on_any_size(height, width, grid, ratio):
    torch.manual_seed(0)
    ratio = ratio if grid > 1 else 1
    layer = HierarchicalAttention(8, 4, grid, ratio)
    x = torch.randn(2, 8, height, width)
    with torch.no_grad():
        qkv = 3 * layer.qkv(layer.norm(x))
        layer.qkv.weight *= 3
        layer.qkv.bias *= 3
        if grid == 1:
            expected = slow_attention(*qkv.chunk(3, 1), 2)
        else:
            local = layer.grid_norm(x + slow_windows(qkv, 2, grid))
            pooled = layer.pool_norm(slow_means(local, ratio))
            k, v = layer.kv(pooled).chunk(2, 1)
            expected = local + slow_attention(layer.q(local), k, v, 2)
        torch.testing.assert_close(layer(x), layer.proj(expected))


@given(SIDES, SIDES, st.integers(2, 6), st.integers(0, 9))
def test_what_lies_in_the_padding_changes_nothing(height, width, side, seed):
    torch.manual_seed(seed)
    qkv = torch.randn(2, height, width, 24, requires_grad=True)

    def pad_with_noise(x: Tensor, padding: tuple) -> Tensor:
        padded = real_pad(x, padding)
        outside = ~real_pad(torch.ones_like(x, dtype=torch.bool), padding)
        return padded + outside * 1000 * torch.randn_like(padded)

    results = []
    for pad in (real_pad, pad_with_noise):
        with patch.object(F, 'pad', pad):
            y = attend_in_windows(qkv, 2, side)
        results += [y, *torch.autograd.grad(y.square().sum(), qkv)]
    assert torch.equal(results[0], results[2])
    assert torch.equal(results[1], results[3])


def test_sizes_that_divide_evenly_are_not_padded():
    torch.manual_seed(0)
    qkv = torch.randn(2, 8, 12, 24)
    with patch.object(F, 'pad', None):
        y = attend_in_windows(qkv, 2, 4)
    whole = F.scaled_dot_product_attention
    with patch.object(F, 'scaled_dot_product_attention') as attention:
        attention.side_effect = whole
        assert torch.equal(attend_in_windows(qkv, 2, 4), y)
    assert attention.call_args.kwargs == dict(attn_mask=None)
    expected = slow_windows(qkv.permute(0, 3, 1, 2), 2, 4)
    torch.testing.assert_close(y, expected.permute(0, 2, 3, 1))


@pytest.mark.parametrize('height', [8, 9])
def test_both_products_of_an_attention_are_counted(height):
    layer = HierarchicalAttention(64, 32, grid_size=8, pool_ratio=4)
    model = nn.Module()
    stem = nn.Conv2d(3, 64, 1)  # count_macs gives images
    model.extract_feat = nn.Sequential(stem, layer).to('meta').requires_grad_(False)
    cells, padded, squares = height * 8, -(-height // 8) * 64, -(-height // 4) * 2
    convs = cells * 64 * (3 + 3 * 64 + 64 + 64) + squares * 64 * 2 * 64
    products = 2 * 64 * (padded * 64 + cells * squares)
    assert count_macs(model, height, 8) == convs + products


@pytest.mark.parametrize(('grid_size', 'pool_ratio'), [(3, 2), (1, 1)])
def test_the_layer_starts_as_an_identity_that_learns(grid_size, pool_ratio):
    torch.manual_seed(0)
    layer = HMHSA(8, 4, grid_size, pool_ratio)
    x = torch.rand(2, 8, 7, 5)
    assert torch.equal(layer(x), x)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    for _ in range(2):
        layer.zero_grad()
        layer(x).square().sum().backward()
        assert not [n for n, p in layer.named_parameters() if p.grad is None]
        optimizer.step()
    assert layer.attn.qkv.weight.grad.abs().sum() > 0
    assert not torch.equal(layer(x), x)


@pytest.mark.parametrize(
    'host',
    [
        pytest.param('mmdet', marks=pytest.mark.det),
        pytest.param('mmseg', marks=pytest.mark.seg),
    ],
)
def test_a_plugin_of_resnet_changes_nothing_before_it_is_trained(host):
    import_module(f'{host}.models')
    init_default_scope(host)
    cfg = dict(type='mmpatchconvnet.HMHSA', grid_size=7, pool_ratio=2)
    plugins = [
        dict(cfg=cfg, stages=(False, True, False, False), position='after_conv3'),
        *Config.fromfile(OF_RESNET50).plugins,  # in two stages, after_conv2
    ]
    settings = dict(type='ResNet', depth=50, base_channels=16)
    plain = MODELS.build(settings)
    resnet = MODELS.build(dict(settings, plugins=plugins))
    resnet.init_weights()
    missing, unexpected = resnet.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and {'hmhsa' in key for key in missing} == {True}
    x = torch.rand(1, 3, 70, 90)
    for model in (plain, resnet):
        model.eval()
    with torch.no_grad():
        assert all(map(torch.equal, resnet(x), plain(x)))
    resnet.train()
    sum(y.mean() for y in resnet(torch.rand(2, 3, 70, 90))).backward()
    trained = {n: p.grad for n, p in resnet.named_parameters() if 'hmhsa' in n}
    assert {name.split('.')[0] for name in trained} == {'layer2', 'layer3', 'layer4'}
    assert all(grad is not None for grad in trained.values())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(head_dims=3), 'head_dims=3 does not split 8 .* divisor of 8'),
        (dict(grid_size=0), 'grid_size=0, pool_ratio=2: give sides'),
        (dict(grid_size=1), 'grid_size=1 is plain attention.* pool_ratio=2: set'),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        HMHSA(8, **{'head_dims': 4, **arguments})


@pytest.mark.parametrize('shape', [(1, 4, 5, 5), (8, 5, 5), (1, 8, 5, 0)])
def test_wrong_maps_are_named(shape):
    with pytest.raises(ValueError, match=r'HMHSA got a.* of shape .*: give '):
        HMHSA(8, 4)(torch.zeros(shape))
