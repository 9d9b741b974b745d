"""Attention pooling: shapes, attention, gradients, one token and many."""

import pytest
import torch

from mmpatchconvnet import AttentionPooling


@pytest.mark.parametrize(('tokens', 'heads'), [(1, 1), (1, 4), (5, 1), (5, 2)])
def test_shapes_and_attention(tokens, heads):
    pool = AttentionPooling(16, num_tokens=tokens, num_heads=heads).eval()
    x = torch.rand(3, 16, 4, 7)
    (pooled,), attention = pool(x, return_attention=True)
    assert pooled.shape == ((3, 16) if tokens == 1 else (3, tokens, 16))
    assert attention.shape == (3, heads, tokens, 4, 7)
    total = attention.sum((-2, -1))
    # A single token also attends to itself, several only to the map.
    assert (total < 1).all() if tokens == 1 else torch.allclose(total, torch.ones(()))


@pytest.mark.parametrize(('tokens', 'heads'), [(1, 1), (3, 2)])
def test_the_fused_attention_equals_the_one_that_is_returned(tokens, heads):
    pool = AttentionPooling(16, tokens, heads, layer_scale_init_value=1.0)
    for parameter in pool.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    results = []
    for return_attention in (False, True):
        x = torch.rand(2, 16, 4, 7, generator=torch.manual_seed(0), requires_grad=True)
        output = pool(x, return_attention)
        pooled = output[0][0] if return_attention else output[0]
        pool.zero_grad()
        pooled.sin().sum().backward()
        results.append([pooled, x.grad, *(p.grad for p in pool.parameters())])
    for fused, explicit in zip(*results, strict=True):
        torch.testing.assert_close(fused, explicit, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('return_attention', [False, True])
def test_works_without_values_in_mixed_precision_and_exported(return_attention):
    x = torch.rand(2, 16, 4, 7)
    pool = AttentionPooling(16, num_heads=2).eval()
    meta = AttentionPooling(16, num_heads=2).to('meta')
    exported = torch.export.export(pool, (x, return_attention)).module()

    def pooled(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        output = model(x, return_attention)
        return output[0][0] if return_attention else output[0]

    assert pooled(meta, x.to('meta')).shape == (2, 16)
    torch.testing.assert_close(pooled(exported, x), pooled(pool, x))
    with torch.autocast('cpu', torch.bfloat16):
        half = pooled(pool, x)
    torch.testing.assert_close(half, pooled(pool, x), atol=0.05, rtol=0)


def test_attention_follows_the_map():
    pool = AttentionPooling(8).eval()
    x = torch.rand(1, 8, 5, 6)
    _, attention = pool(x, return_attention=True)
    _, shifted = pool(x.roll((1, 2), dims=(2, 3)), return_attention=True)
    assert attention.std() > 0
    torch.testing.assert_close(shifted, attention.roll((1, 2), dims=(-2, -1)))


def test_uses_the_last_of_several_maps():
    pool = AttentionPooling(8).eval()
    first, last = torch.rand(2, 1, 8, 4, 4)
    assert torch.equal(pool((first, last))[0], pool(last)[0])
    assert not torch.equal(pool((last, first))[0], pool(last)[0])


@pytest.mark.parametrize('tokens', [1, 3])
def test_every_parameter_gets_a_gradient(tokens):
    pool = AttentionPooling(8, num_tokens=tokens)
    pool(torch.rand(2, 8, 3, 3))[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in pool.attn.v.parameters())
    assert not [n for n, p in pool.named_parameters() if p.grad is None]


@pytest.mark.cls
def test_per_token_head_scores_each_token_with_its_own_row():
    from mmpatchconvnet import PerTokenLinearHead

    head = PerTokenLinearHead(num_classes=3, in_channels=8)
    tokens = torch.rand(2, 3, 8)
    scores = head((tokens,))
    expected = torch.stack(
        [tokens[:, k] @ head.weight[k] + head.bias[k] for k in range(3)], dim=1
    )
    torch.testing.assert_close(scores, expected)
    with pytest.raises(
        ValueError, match=r'got tokens of shape \(2, 8\): give \(B, 3, 8'
    ):
        head((tokens[:, 0],))


@pytest.mark.cls
def test_per_token_multi_label_head_has_a_sigmoid_for_each_class():
    from mmpretrain.structures import DataSample

    from mmpatchconvnet import PerTokenMultiLabelHead

    head = PerTokenMultiLabelHead(num_classes=3, in_channels=8)
    head.bias.data = torch.tensor([5.0, -5.0, 5.0])
    tokens = torch.rand(2, 3, 8)
    samples = [DataSample().set_gt_label([0, 2]), DataSample().set_gt_label([1])]
    scores = head((tokens,)).sigmoid()
    truth = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    expected = torch.nn.functional.binary_cross_entropy(scores, truth) * 3
    torch.testing.assert_close(head.loss((tokens,), samples)['loss'], expected)
    for sample, score in zip(head.predict((tokens,)), scores, strict=True):
        torch.testing.assert_close(sample.pred_score, score)
        assert sample.pred_label.tolist() == [0, 2]
    with pytest.raises(ValueError, match=r'^PerTokenMultiLabelHead got '):
        head((tokens[:, 0],))


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match='in_channels=10 cannot be split among'):
        AttentionPooling(10, num_heads=4)
    with pytest.raises(ValueError, match='num_tokens=0: give 1 or more'):
        AttentionPooling(8, num_tokens=0)
    with pytest.raises(ValueError, match=r'shape \(1, 4, 2, 2\): give a map \(B, 8'):
        AttentionPooling(8)(torch.rand(1, 4, 2, 2))
