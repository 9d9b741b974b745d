"""The tools refuse a checkpoint with code in it, wherever a config may name one."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from booby_trap import write_trap

from mmpatchconvnet.datasets import write_scenes

ROOT = Path(__file__).parents[2]
CLASSIFIER = ROOT / 'configs' / 'demo' / 'classifier_patchconvnet-tiny_scenes.py'
SMALL = """
model = dict(
    backbone=dict(arch=dict(embed_dims=16, depth=1)),
    neck=dict(in_channels=16),
    head=dict(in_channels=16),
)
train_cfg = dict(max_iters=1, val_interval=1)
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
"""
PRETRAINED = "dict(type='Pretrained', checkpoint={trap!r})"
# What of a config may name a file.
DOORS = {
    'whole model': f'model = dict(init_cfg={PRETRAINED})',
    'backbone': 'model = dict(backbone=dict(init_cfg=dict(_delete_=True, '
    "type='Pretrained', checkpoint={trap!r})))",
    'neck': f'model = dict(neck=dict(init_cfg={PRETRAINED}))',
    'head': f'model = dict(head=dict(init_cfg={PRETRAINED}))',
    'list': "model = dict(backbone=dict(init_cfg=[dict(type='Pretrained', "
    'checkpoint={trap!r})]))',
    'override': 'model = dict(backbone=dict(init_cfg=dict(_delete_=True, '
    "type='Constant', val=1, layer='Linear', override=dict(type='Pretrained', "
    "name='stem', checkpoint={trap!r}))))",
    'pretrained': 'model = dict(pretrained={trap!r})',
    'backbone of a host': "model = dict(backbone=dict(_delete_=True, type='ResNet', "
    "depth=18, init_cfg=dict(type='Pretrained', checkpoint={trap!r})), "
    "neck=dict(_delete_=True, type='GlobalAveragePooling'), "
    'head=dict(in_channels=512))',
    'load_from': 'load_from = {trap!r}',
    'resume': 'load_from = {trap!r}; resume = True',
}


@pytest.fixture(scope='module')
def scenes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('data') / 'scenes'
    return write_scenes(folder, num_train=8, num_val=2) / 'classes'


@pytest.fixture
def trap(tmp_path):
    """A checkpoint whose code must not have run at the end of a test."""
    marker = tmp_path / 'code_has_run'
    yield write_trap(tmp_path / 'trap.pth', marker)
    assert not marker.exists()


def run_tool(monkeypatch, name: str, *arguments: str | Path) -> str:
    """What a tool exits with."""
    tool = str(ROOT / 'tools' / f'{name}.py')
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(tool, run_name='__main__')
    return str(ended.value.code)


def write_config(folder: Path, *lines: str) -> Path:
    (folder / 'small.py').write_text(f'_base_ = {str(CLASSIFIER)!r}\n{SMALL}')
    config = folder / 'child.py'
    config.write_text('\n'.join(("_base_ = 'small.py'", *lines)))
    return config


@pytest.mark.cls
@pytest.mark.parametrize('door', DOORS)
def test_training(door, trap, scenes, tmp_path, monkeypatch):
    config = write_config(tmp_path, DOORS[door].format(trap=trap))
    data = ('--data-root', scenes, '--work-dir', tmp_path / 'run')
    message = run_tool(monkeypatch, 'train', config, *data)
    assert f'{trap} holds' in message and '.mkdir, which could run code' in message
    assert message.startswith('error: ') and '\n' not in message


@pytest.mark.cls
def test_resuming_on_the_command_line(trap, scenes, tmp_path, monkeypatch):
    config = write_config(tmp_path)
    data = ('--data-root', scenes, '--work-dir', tmp_path)
    message = run_tool(monkeypatch, 'train', config, *data, '--resume', trap)
    assert message.startswith(f'error: {trap} holds')
    Path(trap).rename(tmp_path / 'iter_4.pth')
    message = run_tool(monkeypatch, 'train', config, *data, '--resume')
    assert message.startswith(f'error: {tmp_path / "iter_4.pth"} holds')


@pytest.mark.cls
def test_resuming_weights_says_what_to_do(scenes, tmp_path, monkeypatch):
    weights = tmp_path / 'weights.pth'
    torch.save(dict(state_dict={}), weights)
    data = ('--data-root', scenes, '--work-dir', tmp_path)
    message = run_tool(
        monkeypatch, 'train', write_config(tmp_path), *data, '--resume', weights
    )
    assert message.startswith(f'error: {weights} was not saved by a training: ')


@pytest.mark.cls
def test_testing(trap, scenes, tmp_path, monkeypatch):
    data = ('--data-root', scenes, '--work-dir', tmp_path)
    message = run_tool(monkeypatch, 'test', write_config(tmp_path), trap, *data)
    assert message.startswith(f'error: {trap} holds')


@pytest.mark.parametrize('mode', ['to-ours', 'to-official', 'backbone'])
def test_converting(mode, trap, tmp_path, monkeypatch):
    for source in (trap, f'deit://{trap}'):
        target = tmp_path / 'converted.pth'
        message = run_tool(monkeypatch, 'convert_checkpoint', mode, source, target)
        assert message.startswith(f'error: {trap} holds')
        assert not target.exists()


@pytest.mark.cls
@pytest.mark.slow
def test_comparing(trap, scenes, tmp_path, monkeypatch, capfd):
    config = write_config(tmp_path, DOORS['backbone'].format(trap=trap))
    rows = ('--rows', tmp_path / 'rows.csv', '--work-dir', tmp_path / 'runs')
    message = run_tool(
        monkeypatch, 'compare', config, '--data-root', scenes, '--seeds', 0, *rows
    )
    assert 'exit status 1' in message
    shown = capfd.readouterr().err  # of the process that trains
    assert f'error: {trap} holds' in shown and 'Traceback' not in shown
