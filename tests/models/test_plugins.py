"""Layers behind the stages of the hosts' backbones."""

from importlib import import_module

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

import mmpatchconvnet  # noqa: F401 (fills the registry)
from mmpatchconvnet.models import with_plugins

LAYER = dict(type='mmpatchconvnet.HMHSA', in_channels=256, grid_size=7, pool_ratio=2)


@pytest.mark.parametrize(
    'host',
    [
        pytest.param('mmpretrain', marks=pytest.mark.cls),
        pytest.param('mmdet', marks=pytest.mark.det),
        pytest.param('mmseg', marks=pytest.mark.seg),
    ],
)
def test_a_layer_behind_a_stage_changes_nothing_before_it_is_trained(host, tmp_path):
    import_module(f'{host}.models')
    init_default_scope(host)
    settings = dict(type='ResNet', depth=18, out_indices=(2, 3))
    plain = MODELS.build(settings)
    torch.save(plain.state_dict(), tmp_path / 'resnet.pth')
    settings['init_cfg'] = dict(
        type='Pretrained', checkpoint=str(tmp_path / 'resnet.pth')
    )
    model = MODELS.build(
        dict(
            type='mmpatchconvnet.with_plugins',
            backbone=settings,
            plugins=dict(layer3=LAYER),
        )
    )
    model.init_weights()
    added = model.state_dict().keys() - plain.state_dict().keys()
    assert {key.startswith('layer3.plugin.') for key in added} == {True}
    x = torch.rand(1, 3, 70, 90)
    model.eval(), plain.eval()  # the hosts' eval returns nothing
    with torch.no_grad():
        for a, b in zip(model(x), plain(x), strict=True):
            assert torch.equal(a, b)
        model.layer3.plugin.gamma += 1
        for a, b in zip(model(x), plain(x), strict=True):
            assert not torch.allclose(a, b)


@pytest.mark.cls
def test_a_layer_in_a_frozen_stage_is_frozen():
    import_module('mmpretrain.models')
    init_default_scope('mmpretrain')
    settings = dict(type='ResNet', depth=18, frozen_stages=3)
    model = with_plugins(settings, dict(layer3=LAYER))
    assert not [p for p in model.layer3.parameters() if p.requires_grad]


@pytest.mark.cls
def test_a_stage_that_does_not_exist_is_named():
    import_module('mmpretrain.models')
    init_default_scope('mmpretrain')
    text = 'plugins names the stage layer5, which ResNet lacks: give .*layer4'
    with pytest.raises(ValueError, match=text):
        with_plugins(dict(type='ResNet', depth=18), dict(layer5=LAYER))
