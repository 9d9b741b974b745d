"""The official key map, strict loading, and the deit:// scheme."""

import urllib.error

import pytest
import torch
from mmengine.registry import init_default_scope
from recipe import official_shapes, official_state_dict

from mmpatchconvnet import PatchConvNet, PerTokenLinearHead, checkpoints
from mmpatchconvnet.checkpoints import (
    CheckpointError,
    check_start,
    convert_deit_checkpoint,
    load_weights,
)
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
    with pytest.raises(ValueError, match=r'head.fc.weight has shape \(7, 32\), not'):
        load_weights(classifier, path)
    torch.save(official, path)
    with pytest.raises(ValueError, match='fit ImageClassifier: it has the unknown'):
        load_weights(classifier, path)
    with pytest.raises(ValueError, match=r'nowhere\.pth is no file'):
        load_weights(classifier, 'nowhere.pth')


class Foreign:
    """More than a tensor: unpickling it would run code of its own."""


def test_a_checkpoint_with_code_in_it_is_refused(classifier, tmp_path):
    path = str(tmp_path / 'weights.pth')
    torch.save({'state_dict': {}, 'extra': Foreign()}, path)
    for name in (path, f'deit://{path}'):
        with pytest.raises(CheckpointError, match='holds more than tensors'):
            load_weights(classifier, name)


@pytest.mark.parametrize('content', [b'', b'# no checkpoint', b'PK\x03\x04 torn'])
def test_a_file_that_is_no_checkpoint_is_named(classifier, tmp_path, content):
    path = tmp_path / 'weights.pth'
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r'weights\.pth is torn or holds'):
        load_weights(classifier, str(path))


def test_a_start_needs_weights_that_fit(official, classifier, tmp_path):
    path = str(tmp_path / 'weights.pth')
    weights = convert_deit_checkpoint(official)
    weights['head.fc.weight'] = torch.zeros(7, 32)  # other classes: fine-tuning
    torch.save(weights, path)
    check_start(classifier, path, resume=False)
    check_start(classifier, path, resume=True)
    torch.save({'foo': torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match='has no tensor that fits Image'):
        check_start(classifier, path, resume=False)
    with pytest.raises(CheckpointError, match='has the unknown 1 keys foo and misses'):
        check_start(classifier, path, resume=True)


@pytest.fixture
def deit_file(tmp_path, official):
    path = tmp_path / 's60.pth'
    torch.save({'model': official}, path)
    return path


def column(checkpoint: str, **settings) -> PatchConvNet:
    init_cfg = dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.')
    settings = {'arch': dict(embed_dims=32, depth=2), 'init_cfg': init_cfg, **settings}
    return PatchConvNet(**settings)


@pytest.mark.parametrize('place', ['cache', 'file'])
def test_deit_scheme_through_init_cfg(
    monkeypatch, tmp_path, deit_file, official, place
):
    name = str(deit_file)
    if place == 'cache':
        monkeypatch.setenv('TORCH_HOME', str(tmp_path))
        name = 's60_224_1k'
        cached = tmp_path / 'hub' / 'checkpoints' / f'{name}.pth'
        cached.parent.mkdir(parents=True)
        deit_file.rename(cached)
    backbone = column(f'deit://{name}')
    backbone.init_weights()
    assert torch.equal(backbone.blocks[0].gamma, official['blocks.0.gamma_1'])


def test_a_pretrained_column_that_does_not_fit_is_an_error(deit_file):
    name = f'deit://{deit_file}'
    column(name, out_indices=0).init_weights()  # blocks behind the last tap are spare
    with pytest.raises(CheckpointError, match=r'not fit PatchConvNet.*misses the 13'):
        column(name, arch=dict(embed_dims=32, depth=3)).init_weights()
    with pytest.raises(CheckpointError, match=r'its stem.* has shape'):
        column(name, arch=dict(embed_dims=64, depth=2)).init_weights()
    without_prefix = dict(type='Pretrained', checkpoint=name)
    with pytest.raises(CheckpointError, match='has the unknown'):
        column(name, init_cfg=without_prefix).init_weights()


def test_deit_scheme_says_where_to_put_the_file(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))

    def offline(*_, **__):
        raise urllib.error.URLError('no network')

    monkeypatch.setattr(torch.hub, 'urlopen', offline)
    with pytest.raises(CheckpointError, match=r'no network.*put it at .*s60_224'):
        checkpoints.load_deit_checkpoint('deit://s60_224_1k')
    assert not list(tmp_path.rglob('*.pth'))
    with pytest.raises(CheckpointError, match=r'deit://s61 is no official .* s60_224'):
        checkpoints.load_deit_checkpoint('deit://s61')
