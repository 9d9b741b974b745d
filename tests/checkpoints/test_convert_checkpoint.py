"""From our checkpoints back to the official names, to a backbone, and the command."""

import sys

import pytest
import torch
from goldens import official_state_dict
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from torch import nn

from mmpatchconvnet import AttentionPooling, PatchConvNet, cli
from mmpatchconvnet.checkpoints import (
    CheckpointError,
    KeyGroup,
    backbone_weights,
    convert_deit_checkpoint,
    convert_file,
    convert_to_deit,
)

pytestmark = pytest.mark.cls
ARCH = dict(embed_dims=32, depth=2)


@pytest.fixture(autouse=True)
def scope() -> None:
    """Heads look for their loss in it; another test may have left another's."""
    init_default_scope('mmpretrain')


def official(kind: str) -> dict[str, torch.Tensor]:
    """Two blocks, ten classes; one token, or one for each class."""
    weights = official_state_dict(32, depth=2, classes=10)
    if kind == 'multi':
        for part in ('weight', 'bias'):
            rows = weights.pop(f'head.{part}')
            weights.update({f'head.{k}.{part}': rows[[k]] for k in range(10)})
        weights['cls_token'] = torch.rand(1, 10, 32)
    return weights


def ours(kind: str) -> dict[str, torch.Tensor]:
    """The same classifier, built of our modules."""
    model = nn.Module()
    model.backbone = PatchConvNet(ARCH)
    if kind == 'multi':
        from mmpatchconvnet import PerTokenLinearHead

        model.neck = AttentionPooling(32, num_tokens=10)
        model.head = PerTokenLinearHead(num_classes=10, in_channels=32)
    else:
        model.neck = AttentionPooling(32)
        model.head = nn.Module()
        model.head.fc = nn.Linear(32, 10)
    return {key: torch.rand_like(value) for key, value in model.state_dict().items()}


def dense(norm_cfg: dict | None = None) -> dict:
    """What mmengine saves of a detector that taps block 1 of more."""
    model = nn.Module()
    model.backbone = PatchConvNet(
        dict(embed_dims=32, depth=4), out_indices=(0, 1), norm_cfg=norm_cfg
    )
    model.neck = nn.Sequential(nn.Conv2d(32, 32, 1))
    model.rpn_head = nn.Conv2d(32, 3, 1)
    weights = model.state_dict()
    return dict(
        meta=dict(epoch=1),
        state_dict=weights,
        ema_state_dict={'module.backbone.stem.convs.0.weight': torch.zeros(1)},
        optimizer=dict(state={}, param_groups=[]),
    )


def of_stride(patch_size: int) -> dict[str, torch.Tensor]:
    """A classifier's column and pooling, the column of another stride."""
    model = nn.Module()
    model.backbone = PatchConvNet(dict(ARCH, patch_size=patch_size))
    model.neck = AttentionPooling(32)
    return model.state_dict()


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize('kind', ['single', 'multi'])
def test_round_trips_are_equal_to_the_bit(kind):
    given = official(kind)
    assert same(convert_to_deit(convert_deit_checkpoint(given)), given)
    given = ours(kind)
    saved = dict(meta={}, state_dict=given, optimizer={})
    assert same(convert_deit_checkpoint(convert_to_deit(saved)), given)


@pytest.mark.parametrize('kind', ['single', 'multi'])
def test_official_tensors_hold_their_own_memory(kind):
    for tensor in convert_to_deit(ours(kind)).values():
        assert tensor.untyped_storage().nbytes() == tensor.nbytes


def test_only_a_whole_classifier_has_official_names():
    with pytest.raises(CheckpointError, match=r'unknown 4 keys neck.0.bias.* misses'):
        convert_to_deit(dense())
    given = ours('single')
    del given['head.fc.bias']
    with pytest.raises(CheckpointError, match=r'misses the 1 keys head.fc.bias; the o'):
        convert_to_deit(given)
    given = ours('multi')
    given['head.bias'] = torch.zeros(9)
    with pytest.raises(CheckpointError, match=r'head.bias has 9 rows for 10 classes'):
        convert_to_deit(given)
    with pytest.raises(CheckpointError, match=r'have BatchNorm, .* norm_cfg=None'):
        convert_to_deit(dense(norm_cfg=dict(type='BN')))


@pytest.mark.parametrize(
    ('given', 'norm_cfg'),
    [
        pytest.param(ours('single'), None, id='classifier'),
        pytest.param(dense(), None, id='detector'),
        pytest.param(dense()['state_dict'], None, id='bare detector'),
        pytest.param(dense(dict(type='BN')), dict(type='BN'), id='batch norm'),
    ],
)
def test_a_backbone_loads_strictly(given, norm_cfg, tmp_path):
    weights = backbone_weights(given)
    path = str(tmp_path / 'backbone.pth')
    torch.save(weights, path)
    init_cfg = dict(type='Pretrained', checkpoint=path)
    column = PatchConvNet(ARCH, norm_cfg=norm_cfg, init_cfg=init_cfg)
    column.init_weights()
    assert same(column.state_dict(), weights)


@pytest.mark.parametrize('patch_size', [4, 8, 32])
def test_a_backbone_of_another_stride_is_kept_but_has_no_official_names(patch_size):
    given = of_stride(patch_size)
    column = PatchConvNet(dict(ARCH, patch_size=patch_size))
    column.load_state_dict(backbone_weights(given))
    with pytest.raises(
        CheckpointError, match=rf'has stride {patch_size}, .*code 16: g'
    ):
        convert_to_deit(given)
    del given['backbone.stem.convs.0.weight']
    with pytest.raises(
        CheckpointError, match=r'misses the \d keys backbone.stem.convs'
    ):
        backbone_weights(given)


def test_no_backbone_of_ours_is_refused():
    with pytest.raises(CheckpointError, match=r'no PatchConvNet .*misses the 17 keys'):
        backbone_weights({'neck.weight': torch.zeros(1)})
    resnet = {'backbone.conv1.weight': torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r'unknown 1 keys backbone.conv1.weight'):
        backbone_weights(resnet)
    with pytest.raises(CheckpointError, match='no PatchConvNet or TransCNN under'):
        backbone_weights(PatchConvNet(ARCH).state_dict())


def test_the_report_counts_what_was_written_and_left_out(tmp_path):
    source, target = tmp_path / 'in.pth', tmp_path / 'out.pth'
    torch.save(official('multi'), source)
    _, blocks, pooling, head = convert_file('to-ours', str(source), target)
    assert blocks[:2] == ('blocks (2)', 26) and blocks.new == 'backbone.blocks.*'
    assert pooling.old == 'blocks_token_only.0.*, cls_token, norm.*'
    assert head == KeyGroup('head', 2, 330, 'head.*', 'head.*')

    _, _, _, head = convert_file('to-official', str(target), tmp_path / 'back.pth')
    assert head == KeyGroup('head', 20, 330, 'head.*', 'head.*')

    torch.save(dense(dict(type='BN')), source)
    groups = convert_file('backbone', str(source), target, overwrite=True)
    assert groups[1].tensors == 2 * 16 and 'backbone' not in [g.part for g in groups]

    torch.save(dense(), source)
    groups = convert_file('backbone', str(source), target, overwrite=True)
    assert groups[0] == KeyGroup(
        'stem', 4, 6156, 'backbone.stem.convs.*', 'stem.convs.*'
    )
    assert groups[2:] == [
        KeyGroup('neck', 2, 1056, 'neck.0.*', ''),
        KeyGroup('rpn_head', 2, 99, 'rpn_head.*', ''),
    ]


def test_a_source_may_have_a_scheme_of_mmengine(tmp_path, monkeypatch):
    source, target = tmp_path / 'in.pth', tmp_path / 'out.pth'
    torch.save(dense(), source)
    schemes = {'store://': lambda *_: torch.load(source), **CheckpointLoader._schemes}
    monkeypatch.setattr(CheckpointLoader, '_schemes', schemes)
    convert_file('backbone', 'store://in.pth', target)
    assert 'stem.convs.0.weight' in torch.load(target)


@pytest.mark.parametrize('mode', ['to-ours', 'to-official', 'backbone'])
def test_the_command_in_each_mode(mode, tmp_path, monkeypatch, capsys):
    source, target = tmp_path / 'in.pth', tmp_path / 'out.pth'
    given, convert = {
        'to-ours': (official('single'), convert_deit_checkpoint),
        'to-official': (dict(state_dict=ours('single')), convert_to_deit),
        'backbone': (dense(), backbone_weights),
    }[mode]
    torch.save(given, source)
    monkeypatch.setattr(sys, 'argv', ['', 'convert', mode, str(source), str(target)])
    cli.main()
    told = capsys.readouterr().out
    assert 'blocks (2)' in told and str(target) in told
    assert ('left out' in told) == (mode == 'backbone')
    assert same(torch.load(target, weights_only=True), convert(given))


def test_an_existing_file_stays_unless_told(tmp_path):
    source, target = tmp_path / 'in.pth', tmp_path / 'out.pth'
    torch.save(official('single'), source)
    target.write_text('precious')
    with pytest.raises(CheckpointError, match=r'out\.pth exists: .* --overwrite'):
        convert_file('to-ours', str(source), target)
    assert target.read_text() == 'precious'
    convert_file('to-ours', str(source), target, overwrite=True)
    assert torch.load(target, weights_only=True)
