"""Layer decay: the exact table of a toy column, and wrong settings."""

import pytest
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmpatchconvnet import PatchConvNet


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


def test_every_parameter_has_its_rate_and_decay():
    model = Detector(PatchConvNet(dict(embed_dims=8, depth=4)))
    wrapper = build(
        model, decay_rate=0.5, num_groups=2, norm_decay_mult=0, flat_decay_mult=0
    )
    names = {param: name for name, param in model.named_parameters()}
    table = {
        names[group['params'][0]]: (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
    }
    assert table.keys() == set(names.values())
    for name, (rate, decay) in table.items():
        part = name.split('.')
        if part[0] != 'backbone':
            expected = 1.0
        elif part[1] == 'stem':
            expected = 0.125
        else:
            expected = {'0': 0.25, '1': 0.25, '2': 0.5, '3': 0.5}[part[2]]
        assert rate == expected, name
        flat = dict(model.named_parameters())[name].ndim == 1
        assert decay == (0 if flat else 0.5), name


@pytest.mark.parametrize(
    ('depth', 'num_groups', 'smallest'), [(4, 12, 0.5**5), (60, 12, 0.5**13)]
)
def test_no_more_groups_than_blocks(depth, num_groups, smallest):
    model = Detector(PatchConvNet(dict(embed_dims=8, depth=depth)))
    wrapper = build(model, decay_rate=0.5, num_groups=num_groups)
    rates = sorted({group['lr'] for group in wrapper.optimizer.param_groups})
    assert rates[0] == smallest and rates[-1] == 1
    assert len(rates) == min(depth, num_groups) + 2


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
    with pytest.raises(ValueError, match='decay_rate=None: give one in'):
        build(model, num_groups=2)
    with pytest.raises(ValueError, match=r'decay_rate=1\.5: give one in'):
        build(model, decay_rate=1.5)
    with pytest.raises(ValueError, match='num_groups=0: give 1 or more'):
        build(model, decay_rate=0.5, num_groups=0)
    with pytest.raises(ValueError, match='Conv2d has no get_layer_depth'):
        build(Detector(nn.Conv2d(3, 8, 1)), decay_rate=0.5)
