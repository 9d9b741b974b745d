"""Layer decay: the exact table of a toy column in every host, and wrong settings."""

from pathlib import Path

import pytest
from config_files import marked
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmpatchconvnet import PatchConvNet, TransCNN
from mmpatchconvnet.experiments.complexity import build_on_meta


class Detector(nn.Module):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 2)


def build(model: nn.Module, **paramwise):
    return build_optim_wrapper(
        model,
        dict(
            optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.5),
            constructor='mmpatchconvnet.LayerDecayOptimWrapperConstructor',
            paramwise_cfg=paramwise,
        ),
    )


# Parameter of a column of two blocks -> learning rate and weight decay, of 1 and 0.5.
COLUMN = {
    'stem.convs.0.weight': (0.125, 0.5),
    'stem.convs.1.weight': (0.125, 0.5),
    'stem.convs.2.weight': (0.125, 0.5),
    'stem.convs.3.weight': (0.125, 0.5),
    'blocks.0.gamma': (0.25, 0),
    'blocks.0.norm.weight': (0.25, 0),
    'blocks.0.norm.bias': (0.25, 0),
    'blocks.0.pointwise_in.weight': (0.25, 0.5),
    'blocks.0.pointwise_in.bias': (0.25, 0),
    'blocks.0.depthwise.weight': (0.25, 0.5),
    'blocks.0.depthwise.bias': (0.25, 0),
    'blocks.0.gate.reduce.weight': (0.25, 0.5),
    'blocks.0.gate.reduce.bias': (0.25, 0),
    'blocks.0.gate.expand.weight': (0.25, 0.5),
    'blocks.0.gate.expand.bias': (0.25, 0),
    'blocks.0.pointwise_out.weight': (0.25, 0.5),
    'blocks.0.pointwise_out.bias': (0.25, 0),
    'blocks.1.gamma': (0.5, 0),
    'blocks.1.norm.weight': (0.5, 0),
    'blocks.1.norm.bias': (0.5, 0),
    'blocks.1.pointwise_in.weight': (0.5, 0.5),
    'blocks.1.pointwise_in.bias': (0.5, 0),
    'blocks.1.depthwise.weight': (0.5, 0.5),
    'blocks.1.depthwise.bias': (0.5, 0),
    'blocks.1.gate.reduce.weight': (0.5, 0.5),
    'blocks.1.gate.reduce.bias': (0.5, 0),
    'blocks.1.gate.expand.weight': (0.5, 0.5),
    'blocks.1.gate.expand.bias': (0.5, 0),
    'blocks.1.pointwise_out.weight': (0.5, 0.5),
    'blocks.1.pointwise_out.bias': (0.5, 0),
}
DEMO = Path(__file__).parents[2] / 'configs' / 'demo'


@pytest.mark.parametrize(
    'path',
    marked(
        [
            DEMO / f'{kind}_patchconvnet-tiny_scenes.py'
            for kind in ('classifier', 'mask-rcnn', 'upernet')
        ]
    ),
)
def test_every_parameter_has_its_rate_and_decay(path):
    cfg = Config.fromfile(path)
    cfg.model.backbone.arch.depth = 2
    if 'out_indices' in cfg.model.backbone:
        cfg.model.backbone.out_indices = (1,)
    model = build_on_meta(cfg).requires_grad_(True)
    wrapper = build(
        model, decay_rate=0.5, num_groups=2, norm_decay_mult=0, flat_decay_mult=0
    )
    names = {param: name for name, param in model.named_parameters()}
    groups = wrapper.optimizer.param_groups
    rows = [
        (names[param], group['lr'], group['weight_decay'])
        for group in groups
        for param in group['params']
    ]
    assert sorted(name for name, *_ in rows) == sorted(names.values())  # each once
    table = {name: (rate, decay) for name, rate, decay in rows}
    column = {f'backbone.{name}': row for name, row in COLUMN.items()}
    assert {n: row for n, row in table.items() if n.startswith('backbone.')} == column
    shapes = dict(model.named_parameters())
    for name in table.keys() - column.keys():
        flat = shapes[name].ndim == 1
        assert table[name] == (1, 0 if flat else 0.5), name


@pytest.mark.parametrize(
    ('backbone', 'num_groups'),
    [
        (PatchConvNet(dict(embed_dims=8, depth=4)), 4),
        (PatchConvNet(dict(embed_dims=8, depth=60)), 12),
        (TransCNN('hat_tiny'), 12),  # 13 blocks
        (TransCNN('tiny', out_indices=1), 4),
    ],
)
def test_no_more_groups_than_blocks(backbone, num_groups):
    model = Detector(backbone)
    wrapper = build(model, decay_rate=0.5, num_groups=12)
    rates = {group['lr'] for group in wrapper.optimizer.param_groups}
    assert rates == {0.5**i for i in range(num_groups + 2)}
    names = {param: name for name, param in model.named_parameters()}
    for group in wrapper.optimizer.param_groups:
        is_stem = names[group['params'][0]].startswith('backbone.stem.')
        assert is_stem == (group['lr'] == min(rates))


def test_custom_keys_are_multiplied():
    model = Detector(PatchConvNet(dict(embed_dims=8, depth=2)))
    keys = {'blocks.1': dict(lr_mult=0.1)}
    wrapper = build(model, decay_rate=0.5, num_groups=2, custom_keys=keys)
    names = {param: name for name, param in model.named_parameters()}
    for group in wrapper.optimizer.param_groups:
        if 'blocks.1' in names[group['params'][0]]:
            assert group['lr'] == pytest.approx(0.05)


def test_wrong_settings_are_named():
    model = Detector(PatchConvNet(dict(embed_dims=8, depth=2)))
    with pytest.raises(ValueError, match=r'decay_rate=None.*: give'):
        build(model, num_groups=2)
    with pytest.raises(ValueError, match=r'decay_rate=1\.5.*: give'):
        build(model, decay_rate=1.5)
    with pytest.raises(ValueError, match=r'num_groups=0.*: give 1'):
        build(model, decay_rate=0.5, num_groups=0)
    with pytest.raises(ValueError, match=r'Conv2d .*get_layer_depth'):
        build(Detector(nn.Conv2d(3, 8, 1)), decay_rate=0.5)
