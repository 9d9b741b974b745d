"""Official keys of TransCNN and HAT-Net, strict conversion, and the two schemes."""

import shutil
from pathlib import Path

import pytest
import torch
from goldens import transcnn_shapes, transcnn_state_dict
from mmengine.registry import init_default_scope
from small_models import FIRST_RELEASE, HAT_NET

from mmpatchconvnet import TransCNN
from mmpatchconvnet.checkpoints import (
    CheckpointError,
    convert_transcnn_checkpoint,
    read_weights,
)
from mmpatchconvnet.models.transcnn import ARCHITECTURES
from mmpatchconvnet.registry import MODELS

RELEASES = ('TransCNN', 'HAT-Net')
SCHEMES = {'TransCNN': 'transcnn', 'HAT-Net': 'hatnet'}
ARCHS = {'TransCNN': FIRST_RELEASE, 'HAT-Net': HAT_NET}
every_release = pytest.mark.parametrize('release', RELEASES)


def official(release: str) -> dict[str, torch.Tensor]:
    return transcnn_state_dict(ARCHS[release], classes=10)


@pytest.mark.parametrize(
    ('arch', 'keys'),
    [
        ('tiny', 435),
        ('small', 749),
        ('medium', 913),
        ('large', 1077),
        ('hat_tiny', 295),
        ('hat_small', 364),
        ('hat_medium', 686),
        ('hat_large', 939),
    ],
)
def test_every_official_key_has_its_own_name(arch, keys):
    shapes = transcnn_shapes(ARCHITECTURES[arch])
    assert len(shapes) == keys
    weights = {key: torch.empty(shape, device='meta') for key, shape in shapes.items()}
    converted = convert_transcnn_checkpoint(weights)
    with torch.device('meta'):
        backbone = TransCNN(arch)
    own = {f'backbone.{k}': v.shape for k, v in backbone.state_dict().items()}
    own |= {'head.fc.weight': (1000, backbone.embed_dims[-1]), 'head.fc.bias': (1000,)}
    assert {key: value.shape for key, value in converted.items()} == own


@pytest.mark.cls
@every_release
@pytest.mark.parametrize('wrapped', [None, 'model', 'state_dict'])
def test_converted_weights_fit_a_classifier_of_mmpretrain(release, wrapped):
    import mmpretrain.models  # noqa: F401 (fills the registry)

    init_default_scope('mmpretrain')
    classifier = MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='mmpatchconvnet.TransCNN', arch=ARCHS[release]),
            neck=dict(type='mmpretrain.GlobalAveragePooling'),
            head=dict(type='mmpretrain.LinearClsHead', num_classes=10, in_channels=16),
        )
    ).eval()
    weights = official(release)
    given = {wrapped: weights} if wrapped else weights
    classifier.load_state_dict(convert_transcnn_checkpoint(given), strict=True)
    depthwise = classifier.backbone.stages[2].blocks[1].ffn.depthwise.weight
    assert torch.equal(depthwise, weights['blocks.2.1.conv.conv2.0.weight'])
    assert classifier(torch.rand(2, 3, 50, 70)).shape == (2, 10)


def test_the_unused_norm_may_be_missing():
    weights = official('HAT-Net')
    converted = convert_transcnn_checkpoint(weights)
    assert not [key for key in converted if 'proj_norm' in key]
    used = {key: value for key, value in weights.items() if 'proj_norm' not in key}
    assert convert_transcnn_checkpoint(used).keys() == converted.keys()
    weights['blocks.0.0.attn.proj_norm.running_mean'] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r'unknown 1 keys blocks.0.0.attn.pro'):
        convert_transcnn_checkpoint(weights)
    first = official('TransCNN')
    first['blocks.0.0.attn.proj_norm.weight'] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r'unknown 1 keys blocks.0.0.attn.pro'):
        convert_transcnn_checkpoint(first)


@every_release
def test_unknown_and_missing_keys_are_named(release):
    weights = official(release)
    weights['pos_embed'] = weights.pop('blocks.1.1.attn.qkv.bias')
    with pytest.raises(
        CheckpointError,
        match=r'^this is no checkpoint of TransCNN or HAT-Net: it has the unknown 1 '
        r'keys pos_embed and misses the 1 keys blocks.1.1.attn.qkv.bias; give one of',
    ):
        convert_transcnn_checkpoint(weights)
    with pytest.raises(CheckpointError, match=rf'of {release}: it misses the \d+ keys'):
        convert_transcnn_checkpoint({}, release)


@pytest.mark.parametrize(('release', 'other'), [RELEASES, RELEASES[::-1]])
def test_a_checkpoint_of_the_other_release_is_named(release, other, tmp_path):
    assert convert_transcnn_checkpoint(official(release), release)
    message = rf'is a checkpoint of {release}, not of {other}: give'
    with pytest.raises(CheckpointError, match=f'^this {message} {SCHEMES[release]}:'):
        convert_transcnn_checkpoint(official(release), other)
    path = tmp_path / 'official.pth'
    torch.save(official(release), path)
    name = f'{SCHEMES[release]}://{path}'
    init_cfg = dict(type='Pretrained', checkpoint=name, prefix='backbone.')
    TransCNN(ARCHS[release], init_cfg=init_cfg).init_weights()
    with pytest.raises(CheckpointError, match=rf'^{name} {message} arch=.*{other}\.$'):
        TransCNN(ARCHS[other], init_cfg=init_cfg).init_weights()


@pytest.mark.parametrize(
    ('name', 'url'),
    [
        (
            'transcnn://small',
            'https://github.com/yun-liu/TransCNN/releases/download/v1.0/'
            'TransCNN-Small.pth',
        ),
        (
            'hatnet://large',
            'https://github.com/yun-liu/HAT-Net/releases/download/v2.0/'
            'HAT-Net_Large.pth',
        ),
    ],
)
def test_an_official_file_is_downloaded_once(name, url, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    release = 'TransCNN' if 'transcnn' in name else 'HAT-Net'
    path = tmp_path / 'official.pth'
    torch.save(official(release), path)
    downloads = []

    def fake(url: str, place: str) -> None:
        downloads.append(url)
        shutil.copy(path, place)

    monkeypatch.setattr(torch.hub, 'download_url_to_file', fake)
    for _ in range(2):
        weights = read_weights(name)
    assert weights.keys() == convert_transcnn_checkpoint(official(release)).keys()
    assert downloads == [url]
    cached = tmp_path / 'home/hub/checkpoints' / Path(url).name
    record = cached.with_name(f'{cached.name}.sha256')
    assert {*cached.parent.iterdir()} == {cached, record}
    torch.save({'model': official(release)}, cached)
    with pytest.raises(CheckpointError, match=r'has changed since .*sha256'):
        read_weights(name)


@pytest.mark.parametrize('scheme', ['transcnn', 'hatnet'])
def test_an_unknown_name_is_refused(scheme):
    message = rf'^{scheme}://huge is no official .*: give {scheme}:// .* tiny, small,'
    with pytest.raises(CheckpointError, match=message):
        read_weights(f'{scheme}://huge')
