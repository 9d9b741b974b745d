"""The official key map and strict loading."""

import shutil
from pathlib import Path

import pytest
import torch
from goldens import official_shapes, official_state_dict
from mmengine.registry import init_default_scope

from mmpatchconvnet.checkpoints import (
    CheckpointError,
    check_start,
    convert_deit_checkpoint,
    convert_to_deit,
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


@pytest.mark.cls
@pytest.mark.parametrize('wrapped', [False, True])
def test_converted_weights_fit_a_classifier_of_mmpretrain(
    official, classifier, wrapped
):
    given = {'model': official} if wrapped else official
    classifier.load_state_dict(convert_deit_checkpoint(given), strict=True)
    depthwise = official['blocks.1.attn.qkv_pos.2.weight']
    assert torch.equal(classifier.backbone.blocks[1].depthwise.weight, depthwise)
    assert torch.equal(classifier.head.fc.weight, official['head.weight'])
    assert convert_to_deit(classifier.state_dict()).keys() == official.keys()


@pytest.mark.cls
def test_a_model_with_a_token_for_each_class(official):
    from mmpatchconvnet import PerTokenLinearHead

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


@pytest.mark.cls
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
    with pytest.raises(ValueError, match=r'nowhere\.pth is not a file'):
        load_weights(classifier, 'nowhere.pth')
    torch.save([torch.zeros(1)], path)
    with pytest.raises(ValueError, match='holds a list has no named tensors'):
        load_weights(classifier, path)


class Foreign:
    """More than a tensor: unpickling it would run code of its own."""


@pytest.fixture
def web(monkeypatch, tmp_path) -> Path:
    """A folder that https://example.org shows, with a cache that is empty."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    folder = tmp_path / 'web'
    folder.mkdir()

    def fake(url: str, place: str) -> None:
        shutil.copy(url.replace('https://example.org', str(folder)), place)

    monkeypatch.setattr(torch.hub, 'download_url_to_file', fake)
    return folder


@pytest.mark.cls
def test_a_checkpoint_with_code_in_it_is_refused(classifier, web):
    path = str(web / 'weights.pth')
    torch.save({'state_dict': {}, 'extra': Foreign()}, path)
    url = 'https://example.org/weights.pth'
    for name in (path, f'deit://{path}', url):
        shown = path if name != url else f'the file from {url}'
        with pytest.raises(CheckpointError, match=rf'^{shown} holds .*\.Foreign, '):
            load_weights(classifier, name)


@pytest.mark.cls
def test_a_url_is_downloaded_once(official, classifier, web):
    torch.save(convert_deit_checkpoint(official), web / 'weights.pth')
    for _ in range(2):
        load_weights(classifier, 'https://example.org/weights.pth')
        (web / 'weights.pth').unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match=r'other\.pth cannot be downloaded'):
        load_weights(classifier, 'https://example.org/other.pth')


@pytest.mark.cls
@pytest.mark.parametrize('content', [b'', b'# no checkpoint', b'PK\x03\x04 torn'])
def test_a_file_that_is_no_checkpoint_is_named(classifier, tmp_path, content):
    path = tmp_path / 'weights.pth'
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r'weights\.pth cannot be read'):
        load_weights(classifier, str(path))


@pytest.mark.cls
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
