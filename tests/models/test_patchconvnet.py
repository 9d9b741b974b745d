"""The column: parity with the official code, shapes, gradients, arguments."""

from pathlib import Path

import numpy as np
import pytest
import torch
from goldens import golden_input, official_state_dict

from mmpatchconvnet import AttentionPooling, PatchConvNet
from mmpatchconvnet.checkpoints import convert_deit_checkpoint
from mmpatchconvnet.models.patchconvnet import ARCHITECTURES

DATA = Path(__file__).parents[1] / 'data'
TINY = dict(embed_dims=32, depth=4, layer_scale_init_value=0.5)


def relative_error(ours: torch.Tensor, golden: np.ndarray) -> float:
    return np.abs(ours.numpy() - golden).max() / np.abs(golden).max()


def part(state_dict: dict, prefix: str) -> dict:
    size = len(prefix)
    return {k[size:]: v for k, v in state_dict.items() if k.startswith(prefix)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'dims', 'batch'), [('S60-224', 384, 2), ('B60-224', 768, 1)]
)
def test_figures_of_the_official_implementation(name, dims, batch):
    golden = np.load(DATA / f'{name.replace("-", "_")}.npz')
    weights = convert_deit_checkpoint(official_state_dict(dims, depth=60))
    taps = sorted(int(k[5:-7]) for k in golden if k.endswith('_tokens'))
    column = PatchConvNet(name[:3], out_indices=taps).eval()
    pooling = AttentionPooling(dims).eval()
    column.load_state_dict(part(weights, 'backbone.'))
    pooling.load_state_dict(part(weights, 'neck.'))

    with torch.no_grad():
        maps = column(golden_input(name, batch))
        (token,), attention = pooling(maps, return_attention=True)
        logits = torch.nn.functional.linear(
            token, weights['head.fc.weight'], weights['head.fc.bias']
        )

    for tap, x in zip(taps, maps, strict=True):
        tokens = x.flatten(2).transpose(1, 2)
        some = tokens[:, ::13, ::7]
        assert relative_error(some, golden[f'block{tap}_tokens']) < 1e-5
        mean_std = torch.stack([tokens.mean(), tokens.std(correction=0)])
        assert relative_error(mean_std, golden[f'block{tap}_mean_std']) < 1e-4
    over_map = golden['attention'][..., 1:]
    assert relative_error(attention.flatten(3), over_map) < 1e-5
    assert relative_error(token, golden['pre_logits']) < 1e-5
    assert relative_error(logits, golden['logits']) < 1e-5


@pytest.mark.parametrize(
    ('arch', 'official'),
    [
        ('s60', 25_231_096),
        ('s120', 47_723_896),
        ('b60', 99_388_936),
        ('b120', 188_611_336),
        ('l60', 176_009_576),
        ('l120', 334_294_376),
    ],
)
def test_parameters_of_a_classifier_with_1000_classes(arch, official):
    dims = ARCHITECTURES[arch]['embed_dims']
    with torch.device('meta'):
        parts = [PatchConvNet(arch), AttentionPooling(dims)]
    parameters = [p for m in parts for p in m.parameters()]
    assert sum(p.numel() for p in parameters) + (dims + 1) * 1000 == official


def test_a_wide_image_is_not_taken_for_a_square_one():
    # 64x256 has as many tokens as 128x128: the official code returns an 8x8 map.
    column = PatchConvNet(TINY).eval()
    x = torch.rand(1, 3, 64, 256)
    with torch.no_grad():
        (y,) = column(x)
        (flipped,) = column(x.transpose(2, 3))
        for module in column.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.data = module.weight.data.transpose(2, 3)
        (turned,) = column(x.transpose(2, 3))
    assert y.shape == (1, 32, 4, 16)
    assert not torch.allclose(flipped.transpose(2, 3), y, atol=1e-4)
    torch.testing.assert_close(turned.transpose(2, 3), y)


@pytest.mark.parametrize(('with_cp', 'expected'), [(True, 4), (2, 2), (3, 2), (9, 1)])
def test_checkpointing_keeps_a_map_for_each_group_of_blocks(with_cp, expected):
    column = PatchConvNet(TINY, with_cp=with_cp)
    kept: set[int] = set()

    def kept_by(module: torch.nn.Module) -> int:
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(
            # torch 2.4 keeps an empty tensor, too.
            lambda x: (x.numel() and kept.add(x.data_ptr())) or x,
            lambda x: x,
        ):
            result = module(torch.rand(2, 3, 64, 64))
        assert result  # which holds what was kept, so that no address comes twice
        return len(kept)

    assert kept_by(column) - kept_by(column.stem) == expected


@pytest.mark.parametrize('settings', [{}, dict(block_impl='lean')])
def test_maps_are_laid_out_as_the_image(settings):
    column = PatchConvNet(TINY, stem_indices=1, out_indices=(0, -1), **settings)
    x = torch.rand(2, 3, 64, 64)
    layouts = []
    column.blocks[0].register_forward_pre_hook(
        lambda _, x: layouts.append(x[0].is_contiguous())
    )
    assert all(y.is_contiguous() for y in column(x))
    column.channels_last = False
    column(x)
    assert layouts == [False, True]
    column.to(memory_format=torch.channels_last)
    for y in column(x.to(memory_format=torch.channels_last)):
        assert y.is_contiguous(memory_format=torch.channels_last)


def test_stochastic_depth_drops_blocks_only_in_training():
    torch.manual_seed(0)
    column = PatchConvNet(TINY, drop_path_rate=0.5)
    x = torch.rand(1, 3, 32, 32).expand(16, -1, -1, -1)
    with torch.no_grad():
        assert len(column(x)[0].unique(dim=0)) > 4
        assert len(column.eval()(x)[0].flatten(1).round(decimals=4).unique(dim=0)) == 1


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(arch='s61'), "arch='s61' .*: give .*s60, s120"),
        (dict(arch=dict(depth=4)), r"\['depth'\]: give embed_dims"),
        (dict(arch=dict(TINY, embed_dims=20)), 'embed_dims=20 .* multiple of 8'),
        (dict(arch=dict(TINY, depth=0)), 'depth=0'),
        (dict(stem_indices=(3,)), 'stem_indices=.*between -3 and 2'),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        PatchConvNet(**{'arch': TINY, **arguments})
