"""The official key map, strict loading, and the deit:// scheme."""

import io
import urllib.error

import pytest
import torch
from mmengine.registry import init_default_scope
from recipe import official_shapes, official_state_dict

from mmpatchconvnet import PatchConvNet, PerTokenLinearHead, checkpoints
from mmpatchconvnet.checkpoints import convert_deit_checkpoint, load_weights
from mmpatchconvnet.registry import MODELS

CLASSIFIER = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(
        type='mmpatchconvnet.PatchConvNet', arch=dict(embed_dims=32, depth=2)
    ),
    neck=dict(type='mmpatchconvnet.AttentionPooling', in_channels=32),
    head=dict(type='mmpretrain.LinearClsHead', num_classes=10, in_channels=32),
)


@pytest.fixture
def official():
    return official_state_dict(32, depth=2, classes=10)


@pytest.fixture
def classifier():
    import mmpretrain.models  # noqa: F401 (fills the registry)

    init_default_scope('mmpretrain')
    return MODELS.build(CLASSIFIER)


@pytest.mark.parametrize(('depth', 'keys'), [(60, 807), (120, 1587)])
def test_every_official_key_has_its_own_name(depth, keys):
    shapes = official_shapes(32, depth)
    official = {key: torch.zeros(1) for key in shapes}
    assert len(official) == keys
    assert len(convert_deit_checkpoint(official)) == keys


@pytest.mark.parametrize('wrapped', [False, True])
def test_converted_weights_fit_a_classifier_of_mmpretrain(
    official, classifier, wrapped
):
    given = {'model': official} if wrapped else official
    classifier.load_state_dict(convert_deit_checkpoint(given), strict=True)
    depthwise = official['blocks.1.attn.qkv_pos.2.weight']
    assert torch.equal(classifier.backbone.blocks[1].depthwise.weight, depthwise)
    assert torch.equal(classifier.head.fc.weight, official['head.weight'])


def test_a_model_with_a_token_for_each_class(official):
    for part in ('weight', 'bias'):
        rows = official.pop(f'head.{part}')
        official.update({f'head.{k}.{part}': rows[k : k + 1] for k in range(10)})
    official['cls_token'] = torch.rand(1, 10, 32)
    converted = convert_deit_checkpoint(official)
    head = PerTokenLinearHead(num_classes=10, in_channels=32)
    head.load_state_dict({k: converted[f'head.{k}'] for k in ('weight', 'bias')})
    assert torch.equal(head.weight[3:4], official['head.3.weight'])
    assert torch.equal(head.bias[7:8], official['head.7.bias'])


def test_unknown_and_missing_keys_are_named(official):
    official['pos_embed'] = official.pop('blocks.1.gamma_1')
    with pytest.raises(
        ValueError, match=r'unknown 1 keys pos_embed and misses the 1 k'
    ):
        convert_deit_checkpoint(official)
    with pytest.raises(ValueError, match=r'misses the \d+ keys blocks.0.attn'):
        convert_deit_checkpoint({})


def test_load_weights_is_strict(official, classifier, tmp_path):
    path = str(tmp_path / 'weights.pth')
    weights = convert_deit_checkpoint(official)
    torch.save(dict(state_dict=weights), path)
    load_weights(classifier, path)
    assert torch.equal(classifier.neck.cls_token, official['cls_token'])

    weights['head.fc.weight'] = torch.zeros(7, 32)
    torch.save(weights, path)
    with pytest.raises(
        ValueError, match=r'head.fc.weight has shape \(7, 32\), the model'
    ):
        load_weights(classifier, path)
    torch.save(official, path)
    with pytest.raises(ValueError, match='does not fit the model: it has the unknown'):
        load_weights(classifier, path)
    with pytest.raises(ValueError, match=r'nowhere\.pth is no file'):
        load_weights(classifier, 'nowhere.pth')


def test_deit_scheme_through_init_cfg(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    place = tmp_path / 'hub' / 'checkpoints' / 's60_224_1k.pth'
    place.parent.mkdir(parents=True)
    official = official_state_dict(32, depth=2, classes=10)
    torch.save({'model': official}, place)
    column = PatchConvNet(
        dict(embed_dims=32, depth=2),
        init_cfg=dict(
            type='Pretrained', checkpoint='deit://s60_224_1k', prefix='backbone.'
        ),
    )
    column.init_weights()
    assert torch.equal(column.blocks[0].gamma, official['blocks.0.gamma_1'])


def test_deit_scheme_says_where_to_put_the_file(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))

    def offline(*_, **__):
        raise urllib.error.URLError('no network')

    monkeypatch.setattr(torch.hub, 'urlopen', offline)
    with pytest.raises(OSError, match=r'no network.*put it at .*s60_224_1k\.pth'):
        checkpoints.load_deit_checkpoint('deit://s60_224_1k')
    with pytest.raises(
        ValueError, match=r'deit://s61 is no official .* s60_224_1k, s120'
    ):
        checkpoints.load_deit_checkpoint('deit://s61')


def test_a_checkpoint_with_code_in_it_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    place = tmp_path / 'hub' / 'checkpoints' / 's60_224_1k.pth'
    place.parent.mkdir(parents=True)
    torch.save({'model': {}, 'args': io.StringIO('not a tensor')}, place)
    with pytest.raises(Exception, match=r'[Ww]eights.only'):
        checkpoints.load_deit_checkpoint('deit://s60_224_1k')
