"""Checkpoints of TransCNN and HAT-Net through `convert`, and those of another kind."""

import pytest
import torch
from goldens import official_state_dict, transcnn_state_dict
from small_models import FIRST_RELEASE, HAT_NET
from torch import nn

from mmpatchconvnet import TransCNN
from mmpatchconvnet.checkpoints import (
    CheckpointError,
    KeyGroup,
    backbone_weights,
    convert_deit_checkpoint,
    convert_file,
    convert_to_transcnn,
    convert_transcnn_checkpoint,
)

KINDS = ('PatchConvNet', 'TransCNN', 'HAT-Net')
SCHEMES = dict(zip(KINDS, ('deit', 'transcnn', 'hatnet'), strict=True))
ARCHS = {'TransCNN': FIRST_RELEASE, 'HAT-Net': HAT_NET}
every_release = pytest.mark.parametrize('release', KINDS[1:])


def official(kind: str) -> dict[str, torch.Tensor]:
    if kind == 'PatchConvNet':
        return official_state_dict(32, depth=2, classes=10)
    return transcnn_state_dict(ARCHS[kind], classes=10)


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@every_release
@pytest.mark.parametrize('scheme', [False, True])
def test_a_file_goes_to_our_names_and_back(release, scheme, tmp_path):
    source, ours, back = (tmp_path / f'{name}.pth' for name in ('in', 'ours', 'back'))
    given = official(release)
    torch.save(dict(model=given), source)
    name = f'{SCHEMES[release]}://{source}' if scheme else str(source)
    stem, stages, head = convert_file('to-ours', name, ours)
    assert stem.new == 'backbone.stem.*' and stages.part == 'stages (4)'
    if not scheme:
        assert stages.old == 'blocks.*, ds2.*, ds3.*, ds4.*'
    assert head == KeyGroup('head', 2, 170, head.old, 'head.fc.*')
    assert same(torch.load(ours), convert_transcnn_checkpoint(given))

    groups = convert_file('to-official', str(ours), back)
    assert groups[1].new == 'blocks.*, ds2.*, ds3.*, ds4.*'
    assert sum(group.tensors for group in groups) == len(given)
    if release == 'HAT-Net':
        assert groups[3].part == 'unused' and groups[3].tensors == 14
        for key in given:
            if 'proj_norm' in key:
                given[key] = torch.full_like(given[key], key.endswith('weight'))
    assert same(torch.load(back), given)


@every_release
@pytest.mark.parametrize(
    'settings',
    [
        dict(),
        dict(out_indices=(0, 1)),
        dict(norm_cfg=dict(type='BN')),
        dict(norm_cfg=dict(type='GN', num_groups=2)),
        dict(arch=dict(grid_sizes=(1, 2, 2, 2), pool_ratios=(1, 2, 1, 2))),
    ],
)
def test_the_backbone_of_any_model_loads_strictly(release, settings, tmp_path):
    source, target = tmp_path / 'in.pth', tmp_path / 'out.pth'
    arch = ARCHS[release]
    settings = dict(settings, arch=arch | settings.get('arch', {}))
    detector = nn.Module()
    detector.backbone = TransCNN(**settings)
    detector.neck = nn.Conv2d(8, 8, 1)
    torch.save(dict(state_dict=detector.state_dict(), optimizer={}), source)
    groups = convert_file('backbone', str(source), target)
    assert groups[1].part == f'stages ({len(detector.backbone.stages)})'
    assert groups[2:] == [KeyGroup('neck', 2, 72, 'neck.*', '')]
    init_cfg = dict(type='Pretrained', checkpoint=str(target))
    backbone = TransCNN(**settings, init_cfg=init_cfg)
    backbone.init_weights()
    assert same(backbone.state_dict(), detector.backbone.state_dict())


@every_release
def test_only_a_whole_classifier_has_official_names(release):
    ours = convert_transcnn_checkpoint(official(release))
    del ours['head.fc.bias']
    message = rf'no classifier with .* of {release}: it misses the 1 keys head.fc.bias'
    with pytest.raises(CheckpointError, match=message):
        convert_to_transcnn(ours)
    norm_cfg = dict(type='BN' if release == 'HAT-Net' else 'mmpatchconvnet.LayerNorm2d')
    arch = ARCHS[release]
    other = TransCNN(arch, norm_cfg=norm_cfg).state_dict()
    with pytest.raises(CheckpointError, match=rf'the norm of {release}: it '):
        convert_to_transcnn({f'backbone.{key}': value for key, value in other.items()})


def test_a_backbone_with_a_key_too_few_or_too_many_is_refused():
    ours = convert_transcnn_checkpoint(official('HAT-Net'))
    ours['backbone.extra'] = ours.pop('backbone.stages.1.blocks.1.attn.kv.bias')
    message = r"no HAT-Net under 'backbone\.': it has the unknown 1 .*misses the 1 keys"
    with pytest.raises(CheckpointError, match=message):
        backbone_weights(ours)


@pytest.mark.parametrize('given', KINDS)
@pytest.mark.parametrize('wanted', KINDS)
def test_a_file_of_another_kind_is_named_with_its_scheme(given, wanted, tmp_path):
    source, target = tmp_path / 'in.pth', tmp_path / 'out.pth'
    torch.save(official(given), source)
    name = f'{SCHEMES[wanted]}://{source}'
    if given == wanted:
        convert_file('to-ours', name, target)
        return
    message = (
        rf'^{name} is a checkpoint of {given}, not of {wanted}: give '
        rf'{SCHEMES[given]}://FILE for it, or a checkpoint of {wanted}\.$'
    )
    with pytest.raises(CheckpointError, match=message):
        convert_file('to-ours', name, target)
    assert not target.exists()


def test_functions_name_a_checkpoint_of_another_kind():
    with pytest.raises(CheckpointError, match=r'of HAT-Net, not of PatchConvNet: give'):
        convert_deit_checkpoint(official('HAT-Net'))
    message = r'of PatchConvNet, not of TransCNN or HAT-Net: give deit://FILE'
    with pytest.raises(CheckpointError, match=message):
        convert_transcnn_checkpoint(official('PatchConvNet'))


@pytest.mark.parametrize('scheme', ['', 'transcnn://', 'hatnet://'])
@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 truncated'])
def test_a_truncated_file_is_named(scheme, content, tmp_path):
    path = tmp_path / 'truncated.pth'
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r'truncated\.pth cannot be read'):
        convert_file('to-ours', f'{scheme}{path}', tmp_path / 'out.pth')
