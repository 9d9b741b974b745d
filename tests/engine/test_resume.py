"""Stopped runs that resume as if never stopped, and runs that can be repeated."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from toy_training import ToyModel, toy_config, watched

from mmpatchconvnet.checkpoints import CheckpointError, files, load_file
from mmpatchconvnet.datasets import write_scenes
from mmpatchconvnet.engine.launch import build_runner, load_config
from mmpatchconvnet.engine.provenance import git_state, short_commit
from mmpatchconvnet.engine.resume import choose_checkpoint, tell_earlier

ROOT = Path(__file__).parents[2]


# ----------------------------------------------------------- which checkpoint is chosen


def save(folder: Path, *names: str) -> Config:
    """Checkpoints, one second after the other, and the config that resumes them."""
    for age, name in enumerate(names):
        meta = dict(iter=age, seed=11 + age)
        torch.save(dict(meta=meta, optimizer={}, message_hub={}), folder / name)
        os.utime(folder / name, (age, age))
    (folder / 'last_checkpoint').write_text(str(folder / names[-1]))
    return Config(dict(work_dir=str(folder), resume='auto', load_from='start.pth'))


def notes_on(cfg: Config) -> list[str]:
    return choose_checkpoint(cfg)[0]


def flip_bytes(path: Path) -> None:
    """Change 64 bytes in the middle of the largest record of a checkpoint."""
    with zipfile.ZipFile(path) as records:
        info = max(records.infolist(), key=lambda info: info.file_size)
        start = path.read_bytes().index(records.read(info))
    content = bytearray(path.read_bytes())
    middle = start + info.file_size // 2
    for position in range(middle - 32, middle + 32):
        content[position] ^= 1
    age = path.stat().st_mtime
    path.write_bytes(content)
    os.utime(path, (age, age))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def test_the_newest_is_resumed_with_its_seed(tmp_path):
    cfg = save(tmp_path, 'iter_8.pth', 'iter_12.pth', 'iter_4.pth')
    assert notes_on(cfg) == []
    assert (cfg.resume, cfg.load_from) == (True, str(tmp_path / 'iter_4.pth'))
    assert cfg.randomness.seed == 13
    # mmengine orders the data by the config's, and only then takes the checkpoint's.
    cfg = Config(dict(cfg, randomness=dict(seed=5, deterministic=True)))
    (note,) = notes_on(cfg)
    assert re.match(r'the seed is 13, that of .*iter_4.pth, instead of 5', note)
    assert cfg.randomness == dict(seed=13, deterministic=True)
    assert notes_on(cfg) == []


def test_a_url_is_resumed_with_its_seed(tmp_path, monkeypatch):
    save(tmp_path, 'iter_4.pth')
    monkeypatch.setattr(files, 'fetch', lambda url: tmp_path / url.split('/')[-1])
    url = 'https://example.org/iter_4.pth'
    cfg = Config(dict(resume=True, load_from=url, randomness=dict(seed=5)))
    choose_checkpoint(cfg)
    assert cfg.randomness.seed == 11
    assert cfg.load_from == str(tmp_path / 'iter_4.pth')
    # What another runner has split over files is left to it.
    cfg = Config(dict(resume=True, load_from=str(tmp_path)))
    (note,) = notes_on(cfg)
    assert note.endswith('is not read: give it with --seed.')
    cfg.randomness = dict(seed=5)
    assert notes_on(cfg) == []


def test_truncated_checkpoints_are_named_and_skipped(tmp_path):
    cfg = save(tmp_path, 'best_iter_1.pth', 'iter_4.pth', 'iter_8.pth', 'iter_12.pth')
    truncate(tmp_path / 'iter_12.pth')
    (tmp_path / 'iter_8.pth').write_bytes(b'')
    notes = notes_on(cfg)
    assert cfg.load_from == str(tmp_path / 'iter_4.pth')
    for note, name in zip(notes, ('iter_12.pth', 'iter_8.pth'), strict=True):
        assert note.startswith(f'skipped: {tmp_path / name} cannot be read')

    cfg.resume = 'auto'
    truncate(tmp_path / 'iter_4.pth')
    with pytest.raises(CheckpointError, match=r'no checkpoint .* \(iter_12.pth, iter_'):
        choose_checkpoint(cfg)


@pytest.mark.parametrize('text', ['', 'work_dirs/it', 'gone/iter_99.pth', '\0' * 9])
def test_last_checkpoint_may_be_truncated_or_wrong(text, tmp_path):
    cfg = save(tmp_path, 'epoch_1.pth', 'epoch_2.pth')
    (tmp_path / 'last_checkpoint').write_text(text)
    (note,) = notes_on(cfg)
    assert 'which does not exist: skipped' in note
    assert cfg.load_from == str(tmp_path / 'epoch_2.pth')


def test_a_moved_or_copied_work_directory_and_own_file_names(tmp_path):
    cfg = save(tmp_path, 'step-4.pth', 'step-8.pth')
    (tmp_path / 'last_checkpoint').write_text('elsewhere/step-4.pth')
    assert notes_on(cfg) == []
    assert cfg.load_from == str(tmp_path / 'step-4.pth')
    copy = shutil.copytree(tmp_path, tmp_path / 'copy')
    (copy / 'last_checkpoint').write_text(str(tmp_path / 'step-4.pth'))
    cfg = Config(dict(work_dir=str(copy), resume='auto'))
    choose_checkpoint(cfg)
    assert cfg.load_from == str(copy / 'step-4.pth')
    cfg = Config(dict(work_dir=str(tmp_path), resume='auto'))
    cfg.default_hooks = dict(checkpoint=dict(filename_tmpl='step-{}.pth'))
    (tmp_path / 'last_checkpoint').unlink()
    choose_checkpoint(cfg)
    assert cfg.load_from == str(tmp_path / 'step-8.pth')


def test_only_what_a_training_has_saved_is_resumed(tmp_path):
    path = str(tmp_path / 'weights.pth')
    for content in (dict(state_dict={}), dict(meta=dict(seed=1)), [torch.zeros(1)]):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=r'weights\.pth was not .* load_from'):
            choose_checkpoint(Config(dict(resume=True, load_from=path)))


def test_changed_bytes_are_named_and_the_checkpoint_before_is_resumed(tmp_path):
    cfg = save(tmp_path, 'iter_4.pth', 'iter_8.pth')
    flip_bytes(tmp_path / 'iter_8.pth')
    (note,) = notes_on(cfg)
    assert re.match(r'skipped: .*8\.pth is damaged, .* such as iter_4\.pth\.', note)
    assert cfg.load_from == str(tmp_path / 'iter_4.pth')


@pytest.mark.parametrize('missing', ['optimizer', 'message_hub'])
def test_a_published_file_is_to_be_given_as_load_from(missing, tmp_path):
    cfg = save(tmp_path, 'iter_4.pth', 'iter_8.pth')
    for name in ('iter_4.pth', 'iter_8.pth'):
        content = torch.load(tmp_path / name)
        del content[missing]
        torch.save(content, tmp_path / name)
    given = Config(dict(resume=True, load_from=str(tmp_path / 'iter_8.pth')))
    for settings in (cfg, given):
        with pytest.raises(
            CheckpointError, match=rf'8.pth has no {missing}.* load_from'
        ):
            choose_checkpoint(settings)


def test_a_whole_file_is_never_to_be_removed_nor_passed_over(tmp_path):
    cfg = save(tmp_path, 'iter_4.pth', 'iter_8.pth')
    torch.save(dict(meta=dict(iter=8), code=ToyModel()), tmp_path / 'iter_8.pth')
    with pytest.raises(CheckpointError, match=r'8\.pth holds .*ToyModel') as error:
        choose_checkpoint(cfg)
    assert 'remove' not in str(error.value)


def test_with_no_checkpoint_the_run_starts_as_the_config_says(tmp_path):
    cfg = Config(dict(work_dir=str(tmp_path), resume='auto', load_from='start.pth'))
    (note,) = notes_on(cfg)
    assert note == f'{tmp_path} has no checkpoint to resume: training starts anew.'
    assert (cfg.resume, cfg.load_from) == (False, 'start.pth')


def test_a_checkpoint_is_read_once_and_then_by_mmengine(tmp_path, monkeypatch):
    cfg = toy_config(tmp_path, steps=2, resume='auto')
    first = build_runner(toy_config(tmp_path, steps=2), training=True)
    first.train()
    (tmp_path / 'iter_3.pth').write_bytes(b'truncated')  # read once more, and skipped
    (tmp_path / 'last_checkpoint').write_text('iter_3.pth')
    read = []
    load = torch.load

    def counted(path, *arguments, **settings):
        read.append(Path(path).name)
        return load(path, *arguments, **settings)

    monkeypatch.setattr(torch, 'load', counted)
    runner = build_runner(cfg, training=True)
    assert read == ['iter_3.pth', 'iter_2.pth']
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.load_or_resume()
    assert read[2:] == ['iter_2.pth']


def test_a_new_run_among_checkpoints_of_another_says_so(tmp_path, quick):
    watched(toy_config(tmp_path, steps=4))
    assert tell_earlier(Config(dict(work_dir=str(tmp_path), resume=True))) == []
    (note,) = tell_earlier(toy_config(tmp_path, steps=2))
    assert re.match(r'\S+ has .* earlier training \(iter_4.pth\), and this one', note)
    assert '--resume continues this one' in note and '--work-dir' in note
    assert tell_earlier(toy_config(tmp_path / 'new', steps=2)) == []


def test_a_finished_run_says_so_and_writes_nothing(tmp_path, quick):
    watched(toy_config(tmp_path, steps=4))
    cfg = toy_config(tmp_path, steps=4, resume='auto')
    (note,) = notes_on(cfg)
    assert re.match(r'\S+iter_4.pth is the end of a finished training: nothing', note)
    cfg.default_hooks.loss_curve = dict(type='mmpatchconvnet.LossCurveHook')
    assert watched(cfg) == {}
    log = max(tmp_path.glob('*/*.log'), key=lambda path: path.stat().st_mtime_ns)
    assert 'finished training' in log.read_text()
    assert 'no curves.png' not in log.read_text()
    assert notes_on(toy_config(tmp_path, steps=5, resume='auto')) == []


# ----------------------------------------------------------- how a run ends and goes on


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
    truncate(folder / 'iter_8.pth')
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
