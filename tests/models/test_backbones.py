"""What both backbones keep to: taps, gradients, checkpointing, freezing, depths."""

import re
from functools import partial
from typing import NamedTuple

import pytest
import torch
from small_models import FIRST_RELEASE, HAT_NET
from torch import nn

from mmpatchconvnet import PatchConvNet, TransCNN
from mmpatchconvnet.checkpoints import CheckpointError
from mmpatchconvnet.engine.sharding import wrap_each_block

COLUMN = dict(embed_dims=32, depth=4, layer_scale_init_value=0.5)
COLUMN_BN = partial(PatchConvNet, COLUMN, norm_cfg=dict(type='BN'))


class Kind(NamedTuple):
    """A small backbone of four parts, which are its blocks or its stages."""

    build: partial
    parts: str
    blocks: int  # in all
    depths: dict  # of some parameters, for layer decay


IN_STAGES = {
    'stem.conv2.weight': 0,
    'stages.0.blocks.0.attn.q.weight': 1,
    'stages.2.downsample.conv.weight': 4,
    'stages.2.blocks.2.ffn.expand.weight': 6,
}
IN_COLUMN = {'stem.convs.3.weight': 0, 'blocks.0.gamma': 1, 'blocks.3.norm.weight': 4}
KINDS = dict(
    column=Kind(partial(PatchConvNet, COLUMN), 'blocks', 4, IN_COLUMN),
    column_bn=Kind(COLUMN_BN, 'blocks', 4, IN_COLUMN),
    first=Kind(partial(TransCNN, FIRST_RELEASE), 'stages', 7, IN_STAGES),
    revised=Kind(partial(TransCNN, HAT_NET), 'stages', 7, IN_STAGES),
)
every_kind = pytest.mark.parametrize('kind', KINDS.values(), ids=KINDS)


def parts_of(backbone: nn.Module, kind: Kind) -> nn.ModuleList:
    return getattr(backbone, kind.parts)


@every_kind
@pytest.mark.parametrize('out_indices', [-1, (0, 2)])
def test_every_parameter_gets_a_gradient(kind, out_indices):
    backbone = kind.build(out_indices=out_indices)
    sum(x.square().mean() for x in backbone(torch.rand(2, 3, 70, 90))).backward()
    assert not [n for n, p in backbone.named_parameters() if p.grad is None]


@every_kind
def test_taps_are_the_outputs_of_their_parts(kind):
    backbone = kind.build(out_indices=(-2, 1)).eval()
    parts = parts_of(backbone, kind)
    assert backbone.out_indices == (1, 2) and len(parts) == 3
    outputs = []
    for part in parts:
        part.register_forward_hook(lambda _, __, y: outputs.append(y))
    with torch.no_grad():
        taps = backbone(torch.rand(1, 3, 32, 32))
    assert torch.equal(taps[0], outputs[1])
    assert torch.equal(taps[1], outputs[2])


@every_kind
def test_frozen_stages_stay_frozen_in_training(kind):
    backbone = kind.build(frozen_stages=2).train()
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    backbone(torch.rand(2, 3, 64, 64))
    early = ('stem.', f'{kind.parts}.0.', f'{kind.parts}.1.')
    for name, value in backbone.named_parameters():
        assert value.requires_grad != name.startswith(early)
    for name, value in backbone.named_buffers():
        assert torch.equal(value, before[name]) == name.startswith(early)
    training = [part.training for part in parts_of(backbone, kind)]
    assert training == [False, False, True, True]


@every_kind
def test_layer_depth_covers_every_parameter(kind):
    backbone = kind.build()
    depths = {
        n: backbone.get_layer_depth(f'backbone.{n}', 'backbone.')
        for n, _ in backbone.named_parameters()
    }
    count = kind.blocks + 2
    for name, depth in kind.depths.items():
        assert depths[name] == (depth, count)
    assert {depth for depth, _ in depths.values()} == set(range(count - 1))
    outside = backbone.get_layer_depth('head.fc.weight', 'backbone.')
    assert outside == (count - 1, count)


@every_kind
def test_fsdp_wraps_each_block_and_nothing_else(kind):
    model = nn.Sequential(kind.build(), nn.Conv2d(16, 16, 1))
    taken = [m for m in model.modules() if wrap_each_block(m, False, 0)]
    parts = parts_of(model[0], kind)
    blocks = [b for p in parts for b in p.blocks] if kind.parts == 'stages' else parts
    assert len(taken) == kind.blocks and taken == list(blocks)
    assert wrap_each_block(model, recurse=True, nonwrapped_numel=0)


@pytest.mark.parametrize(
    'block',
    [PatchConvNet(COLUMN).blocks[0], TransCNN(HAT_NET).stages[2].blocks[0]],
    ids=['column', 'revised'],
)
def test_a_block_compiles_once_for_all_sizes(block):
    block.eval()
    channels = next(block.parameters()).shape[0]
    torch.compiler.reset()
    compiled = torch.compile(block, dynamic=True, backend='eager', fullgraph=True)
    for size in ((7, 9), (5, 11)):
        x = torch.rand(2, channels, *size)
        stance = 'default' if size == (7, 9) else 'fail_on_recompile'
        with torch.no_grad(), torch.compiler.set_stance(stance):
            torch.testing.assert_close(compiled(x), block(x))


@every_kind
def test_bfloat16(kind):
    backbone = kind.build().eval()
    x = torch.rand(1, 3, 70, 90)
    with torch.no_grad():
        exact = backbone(x)[0]
        with torch.autocast('cpu', torch.bfloat16):
            mixed = backbone(x)[0].float()
        torch.testing.assert_close(mixed, exact, atol=0.1, rtol=0.1)
        half = backbone.bfloat16()(x.bfloat16())[0]
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, atol=0.2, rtol=0.1)


@every_kind
@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(out_indices=4), 'out_indices=4 .*4 .*between -4 and 3'),
        (dict(out_indices=(0, -5)), 'out_indices=.* -5 .*between -4 and 3'),
        (dict(out_indices=(3, -1)), 'out_indices=.* twice'),
        (dict(out_indices=()), 'out_indices .*empty'),
        (dict(frozen_stages=5), 'frozen_stages=5 '),
        (dict(with_cp=-1), 'with_cp=-1 .*: give True, False or'),
        (dict(drop_path_rate=1.0), r'drop_path_rate=1.0 '),
    ],
)
def test_wrong_arguments_are_named(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind.build(**arguments)


@every_kind
def test_a_checkpoint_of_a_deeper_backbone_is_refused(kind, tmp_path):
    whole = kind.build(out_indices=3)
    torch.save(whole.state_dict(), path := tmp_path / 'whole.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    kind.build(out_indices=1, init_cfg=init_cfg).init_weights()  # the rest is not built
    extra = 'blocks.9.' if kind.parts == 'blocks' else 'stages.1.blocks.9.'
    deeper = whole.state_dict() | {f'{extra}weight': torch.zeros(1)}
    torch.save(deeper, path)
    with pytest.raises(CheckpointError, match=re.escape(f'{extra}weight')):
        kind.build(out_indices=1, init_cfg=init_cfg).init_weights()
