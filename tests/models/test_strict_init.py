"""A checkpoint in an `init_cfg` must fit, in every form that mmengine accepts."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.model import PretrainedInit

import mmpatchconvnet
from mmpatchconvnet import (
    AttentionPooling,
    DeconvPyramid,
    PatchConvNet,
    SimplePyramid,
    TransCNN,
)
from mmpatchconvnet.checkpoints import CheckpointError

MODULES = {
    'backbone': lambda init_cfg: PatchConvNet(
        dict(embed_dims=16, depth=2), init_cfg=init_cfg
    ),
    'transcnn': lambda init_cfg: TransCNN('hat_tiny', out_indices=0, init_cfg=init_cfg),
    'pooling': lambda init_cfg: AttentionPooling(16, init_cfg=init_cfg),
    'deconvolutions': lambda init_cfg: DeconvPyramid(16, init_cfg=init_cfg),
    'simple': lambda init_cfg: SimplePyramid(16, init_cfg=init_cfg),
    'head': lambda init_cfg: mmpatchconvnet.PerTokenLinearHead(
        3, 16, init_cfg=init_cfg
    ),
    'multi-label head': lambda init_cfg: mmpatchconvnet.PerTokenMultiLabelHead(
        3, 16, init_cfg=init_cfg
    ),
}
FORMS = {
    'dict': lambda one: one,
    'ConfigDict': ConfigDict,
    'list': lambda one: [one],
    'tuple': lambda one: (one,),
    'behind another': lambda one: [
        dict(one),
        dict(type='Constant', layer='Linear', val=3.0),
    ],
    'class': lambda one: dict(one, type=PretrainedInit),
    'scope': lambda one: dict(one, type='mmengine.Pretrained'),
    'prefix without a dot': lambda one: dict(one, prefix='part'),
}


def saved(module: torch.nn.Module, path, prefix: str = 'part.') -> dict:
    """The weights of a module in a file, and the `init_cfg` that names it."""
    weights = {
        f'{prefix}{key}': torch.full_like(value, 7)
        for key, value in module.state_dict().items()
    }
    torch.save(weights, path)
    return dict(type='Pretrained', checkpoint=str(path), prefix=prefix)


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize(
    'kind',
    [
        pytest.param(kind, marks=[pytest.mark.cls] * kind.endswith('head'))
        for kind in MODULES
    ],
)
def test_what_fits_is_loaded_and_what_does_not_is_an_error(kind, form, tmp_path):
    path = tmp_path / 'weights.pth'
    init_cfg = FORMS[form](saved(MODULES[kind](None), path))
    module = MODULES[kind](init_cfg)
    module.init_weights()
    assert all((value == 7).all() for value in module.state_dict().values())
    assert module.init_cfg == init_cfg

    weights = torch.load(path)
    weights['part.misspelt'] = weights.pop(next(iter(weights)))
    torch.save(weights, path)
    with pytest.raises(CheckpointError, match=r'has the unknown 1 keys misspelt and'):
        MODULES[kind](init_cfg).init_weights()


@pytest.mark.parametrize('as_list', [False, True])
def test_an_override_for_a_part_is_strict_too(as_list, tmp_path):
    path = tmp_path / 'stem.pth'
    override = dict(saved(MODULES['backbone'](None).stem, path), name='stem')
    init_cfg = dict(
        type='Constant',
        layer='Linear',
        val=1.0,
        override=[override] if as_list else override,
    )
    column = MODULES['backbone'](init_cfg)
    column.init_weights()
    assert (column.stem.convs[0].weight == 7).all()
    torch.save({'part.convs.0.weight': torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r'misses the 3 keys convs\.1\.weight'):
        MODULES['backbone'](init_cfg).init_weights()


def test_blocks_behind_the_last_tap_may_be_in_the_file(tmp_path):
    init_cfg = [saved(MODULES['backbone'](None), tmp_path / 'weights.pth')]
    arch = dict(embed_dims=16, depth=2)
    column = PatchConvNet(arch, out_indices=0, init_cfg=init_cfg)
    column.init_weights()
    assert (column.blocks[0].norm.weight == 7).all()


@pytest.mark.parametrize('key', ['1.weight', 'blocks.1.weight'])
def test_only_a_column_may_leave_blocks_out(key, tmp_path):
    path = tmp_path / 'weights.pth'
    init_cfg = saved(MODULES['simple'](None), path)
    torch.save({**torch.load(path), f'part.{key}': torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=f'has the unknown 1 keys {key}'):
        MODULES['simple'](init_cfg).init_weights()
