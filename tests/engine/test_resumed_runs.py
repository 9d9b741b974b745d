"""Stopped runs that resume as if never stopped, and runs that can be repeated."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from toy_training import toy_config, watched

from mmpatchconvnet.checkpoints import load_file
from mmpatchconvnet.datasets import write_scenes
from mmpatchconvnet.engine.launch import build_runner, load_config
from mmpatchconvnet.engine.provenance import git_state, short_commit

ROOT = Path(__file__).parents[2]


def test_a_run_that_stops_early_leaves_its_last_state(tmp_path, quick):
    watched(toy_config(tmp_path, steps=8), stop_at=3)
    assert [path.name for path in tmp_path.glob('*.pth')] == ['iter_3.pth']
    rates = watched(toy_config(tmp_path, steps=8, resume='auto'))
    assert list(rates) == [4, 5, 6, 7, 8]
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == [
        *('iter_3.pth', 'iter_8.pth')
    ]


def test_a_run_of_epochs_that_stops_early_leaves_its_last_state(tmp_path, quick):
    def by_epoch(**settings: Any) -> Config:
        cfg = toy_config(tmp_path, steps=9, **settings)
        cfg.train_cfg = dict(by_epoch=True, max_epochs=3)
        cfg.train_dataloader.sampler.type = 'DefaultSampler'
        cfg.default_hooks.checkpoint.by_epoch = True
        return cfg

    watched(by_epoch(), stop_at=8)
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_2.pth']
    assert list(watched(by_epoch(resume='auto'))) == [9, 10, 11, 12]


# ------------------------------------------------------------------- the tool, for real

CONFIG = """
_base_ = '{base}'
width = 16
model = dict(
    backbone=dict(
        arch=dict(embed_dims=width, depth=2, layer_scale_init_value=1.0),
        drop_path_rate=0.4,
    ),
    neck=dict(in_channels=width),
    head=dict(in_channels=width),
)
train_dataloader = dict(batch_size=4)
train_cfg = dict(max_iters=12, val_interval=4)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=4))
log_processor = dict(window_size=1)
custom_imports = dict(imports=['kill_hook'])
custom_hooks = [dict(type='KillHook')]
"""
KILL_HOOK = """
import os, signal
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class KillHook(Hook):
    def after_train_iter(self, runner, *_, **__):
        if runner.iter + 1 == int(os.environ.get('KILL_AT', -1)):
            if os.environ['KILL_BY'] == 'Ctrl-C':
                raise KeyboardInterrupt  # a job in the background is deaf to the signal
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope='module')
def place(tmp_path_factory) -> Path:
    """A folder with scenes and a tiny config, whose seed is 0."""
    place = tmp_path_factory.mktemp('resume')
    write_scenes(place / 'scenes', num_train=16, num_val=4)
    base = ROOT / 'configs' / 'demo' / 'classifier_patchconvnet-tiny_scenes.py'
    (place / 'tiny.py').write_text(CONFIG.format(base=base))
    (place / 'kill_hook.py').write_text(KILL_HOOK)
    return place


def train(
    place: Path, name: str, *arguments: str, kill_at: int = -1, by: str = 'SIGKILL'
) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            *(sys.executable, '-W', 'ignore', ROOT / 'tools' / 'train.py', 'tiny.py'),
            *('--work-dir', name, '--data-root', 'scenes/classes', *arguments),
        ],
        cwd=place,
        capture_output=True,
        text=True,
        env=os.environ
        | dict(PYTHONPATH=f'{place}:{ROOT}', KILL_AT=str(kill_at), KILL_BY=by),
    )


def logged_losses(work_dir: Path) -> dict[int, float]:
    """Step -> loss, the last run's where several have logged it."""
    losses = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        rows = map(json.loads, path.read_text().splitlines())
        losses |= {row['step']: row['loss'] for row in rows if 'loss' in row}
    return losses


def assert_equal(one: object, other: object) -> None:
    """To the bit, through nested dicts and lists."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_equal(value, other[key])
    elif isinstance(one, (list, tuple)):
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    else:
        assert one == other


def assert_same_end(one: Path, other: Path) -> None:
    ends = [load_file(folder / 'iter_12.pth') for folder in (one, other)]
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert_equal(*(end[part] for end in ends))


@pytest.fixture(scope='module')
def whole(place) -> Path:
    """The work directory of a run that nothing has stopped."""
    done = train(place, 'whole', '--seed', '1')
    assert done.returncode == 0, done.stderr[-2000:]
    return place / 'whole'


@pytest.mark.cls
@pytest.mark.slow
def test_a_killed_run_goes_on_from_the_last_whole_checkpoint(place, whole):
    folder = place / 'killed'
    killed = train(place, 'killed', '--seed', '1', kill_at=10)
    assert killed.returncode == -signal.SIGKILL
    newest = folder / 'iter_8.pth'
    os.truncate(newest, newest.stat().st_size // 2)
    # Its seed is not given again: it comes from the checkpoint, not from the config.
    resumed = train(place, 'killed', '--resume')
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert 'skipped: killed/iter_8.pth cannot be read' in resumed.stdout
    assert 'resumed epoch: 0, iter: 4' in resumed.stdout
    (log,) = sorted(folder.glob('*/vis_data/scalars.json'))[1:]
    assert json.loads(log.read_text().splitlines()[0])['step'] == 5
    assert logged_losses(folder) == logged_losses(whole)
    assert_same_end(folder, whole)


@pytest.mark.cls
@pytest.mark.slow
@pytest.mark.parametrize(
    ('kill_at', 'message'),
    [
        (2, 'stopped before a checkpoint was saved in stopped2.\n'),
        (6, 'stopped: --resume continues from the last checkpoint in stopped6.\n'),
    ],
)
def test_a_run_that_is_interrupted_says_how_it_goes_on(kill_at, message, place):
    done = train(place, f'stopped{kill_at}', kill_at=kill_at, by='Ctrl-C')
    assert done.returncode == 1
    assert done.stderr.endswith(message)


@pytest.mark.cls
@pytest.mark.slow
def test_two_runs_of_one_seed_are_equal_to_the_bit(place, whole):
    workers = ('--cfg-options', 'train_dataloader.num_workers=1')
    again = train(place, 'again', '--seed', '1', *workers)
    assert again.returncode == 0, again.stderr[-2000:]
    losses = logged_losses(whole)
    assert len(losses) == 12
    assert logged_losses(place / 'again') == losses
    assert_same_end(place / 'again', whole)
    short = ('--cfg-options', 'train_cfg.max_iters=1')
    other = train(place, 'other', '--seed', '2', *short)
    assert other.returncode == 0, other.stderr[-2000:]
    assert logged_losses(place / 'other')[1] != losses[1]


@pytest.mark.cls
@pytest.mark.slow
def test_environment_and_config_are_written_with_every_result(
    place, whole, monkeypatch
):
    (path,) = whole.glob('*/environment.json')
    environment = json.loads(path.read_text())
    assert environment['command'].endswith('--data-root scenes/classes --seed 1')
    assert environment['seed'] == 1
    assert environment['git'] == git_state(ROOT)
    assert environment['world_size'] == 1
    assert torch.__version__.startswith(environment['packages']['torch'])
    assert {'python', 'mmcv', 'mmpatchconvnet'} <= environment['packages'].keys()
    assert environment['mmcv_ops'].startswith(('compiled', 'run by torchvision'))
    assert environment['cpu'] and environment['threads'] >= 1
    assert environment['deterministic']['algorithms'] is False
    assert 'MMEngine' in environment['system']

    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(place)  # of kill_hook
    config = Config.fromfile(path.parent / 'vis_data' / 'config.py')
    assert config.randomness.seed == 1

    # A test in the same work directory leaves the config of the training alone.
    trained = (whole / 'tiny.py').read_text()
    cfg = load_config('tiny.py', work_dir='whole', data_root='scenes/classes')
    runner = build_runner(cfg, training=False)
    assert (whole / 'tiny.py').read_text() == trained
    for name in ('environment.json', 'tiny.py', 'vis_data/config.py'):
        assert Path(runner.log_dir, name).is_file()


def test_git_state_is_that_of_the_sources(tmp_path):
    clone = tmp_path / 'clone'
    (clone / 'configs').mkdir(parents=True)
    assert git_state(clone) is None

    def git(*command: str) -> None:
        name = ('-c', 'user.name=a', '-c', 'user.email=a@b.c')
        subprocess.run(['git', *name, *command], cwd=clone, check=True)

    git('init', '-q')
    assert short_commit(git_state(clone)) == ''
    (clone / 'configs' / 'base.py').write_text('')
    git('add', '.')
    git('commit', '-q', '-m', 'first')
    state = git_state(clone)
    assert len(state['commit']) == 40 and not state['dirty']
    (clone / 'rows.csv').write_text('measured')
    assert git_state(clone) == state
    (clone / 'configs' / 'base.py').write_text('changed = 1')
    assert short_commit(git_state(clone)) == f'{state["commit"][:10]}+'
    assert git_state(clone / 'configs') is None  # another's repository
