"""Stopped runs that resume as if never stopped, and runs that can be repeated."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, MODELS
from torch import nn

from mmpatchconvnet.checkpoints import CheckpointError, files, load_file
from mmpatchconvnet.config_files import ConfigError
from mmpatchconvnet.datasets import write_scenes
from mmpatchconvnet.engine import launch, work_dir_lock
from mmpatchconvnet.engine.launch import build_runner, load_config
from mmpatchconvnet.engine.provenance import git_state, short_commit
from mmpatchconvnet.engine.resume import choose_checkpoint

ROOT = Path(__file__).parents[2]


@MODELS.register_module()
class ToyModel(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x: list[torch.Tensor], mode: str = 'tensor') -> dict:
        return dict(loss=self.layer(torch.stack(x)).square().mean())


@DATASETS.register_module()
class ToyData(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict:
        return dict(x=torch.ones(1))


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


NUMBERS = count()


def toy_config(folder: Path, steps: int, **settings: Any) -> Config:
    """A training of a few steps, which ends with a checkpoint."""
    return Config(
        dict(
            model=dict(type='ToyModel'),
            work_dir=str(folder),
            train_dataloader=dict(
                dataset=dict(type='ToyData'),
                sampler=dict(type='InfiniteSampler'),
                batch_size=1,
            ),
            train_cfg=dict(by_epoch=False, max_iters=steps),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            default_hooks=dict(
                checkpoint=dict(
                    type='mmpatchconvnet.AtomicCheckpointHook',
                    by_epoch=False,
                    interval=steps,
                )
            ),
            default_scope='mmengine',
            experiment_name=f'toy{next(NUMBERS)}',  # mmengine's own is the second
            **settings,
        )
    )


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


# ----------------------------------------------------------- how a run ends and goes on


@HOOKS.register_module()
class Watch(Hook):
    """Notes the rates of all groups at each step, and stops early, after `stop_at`."""

    def __init__(self, stop_at: int = -1, parameter: str = 'lr') -> None:
        self.stop_at, self.parameter = stop_at, parameter
        self.rates: dict[int, list[float]] = {}

    def after_train_iter(self, runner, *_, **__) -> None:
        groups = runner.optim_wrapper.param_groups
        self.rates[runner.iter + 1] = [group[self.parameter] for group in groups]
        runner.train_loop.stop_training = runner.iter + 1 == self.stop_at


@pytest.fixture
def quick(monkeypatch) -> None:
    """Without a description of the machine, which takes longest."""
    monkeypatch.setattr(launch, 'write_environment', lambda runner: None)


def watched(cfg: Config, stop_at: int = -1, **watch: str) -> dict[int, list[float]]:
    """Train, and return the rates of each step."""
    watch = dict(type='Watch', stop_at=stop_at, priority='HIGHEST', **watch)
    cfg.custom_hooks = [watch]
    runner = build_runner(cfg, training=True)
    runner.train()
    (watch,) = (hook for hook in runner.hooks if isinstance(hook, Watch))
    return watch.rates


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


def schedule(end: int) -> list[dict]:
    return [
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=3),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=3, end=end),
    ]


GROUPS = dict(bias_lr_mult=2.0)  # one group for each parameter


@pytest.mark.parametrize('groups', [{}, GROUPS])
def test_a_resumed_run_follows_a_longer_schedule_and_a_new_rate(
    groups, tmp_path, quick
):
    def config(name: str, steps: int, end: int, lr: float, **settings: Any) -> Config:
        optimizer = dict(optimizer=dict(type='SGD', lr=lr), paramwise_cfg=groups)
        cfg = toy_config(tmp_path / name, steps, **settings)
        cfg.merge_from_dict(
            dict(optim_wrapper=optimizer, param_scheduler=schedule(end))
        )
        return cfg

    whole = watched(config('whole', steps=12, end=12, lr=0.2))
    watched(config('longer', steps=6, end=6, lr=0.1))
    rates = watched(config('longer', steps=12, end=12, lr=0.2, resume='auto'))
    assert list(rates) == [7, 8, 9, 10, 11, 12]
    for step, values in rates.items():
        assert values == pytest.approx(whole[step]), step
    log = max((tmp_path / 'longer').glob('*/*.log')).read_text()
    assert 'from step 6 on the learning rates follow the config' in log
    assert 'param_scheduler.1: end 6 is now 12' in log


def test_more_epochs_follow_a_longer_schedule(tmp_path, quick):
    def config(name: str, epochs: int, **settings: Any) -> Config:
        cfg = toy_config(tmp_path / name, steps=4, **settings)
        cfg.train_cfg = dict(by_epoch=True, max_epochs=epochs)
        cfg.train_dataloader.sampler.type = 'DefaultSampler'
        cfg.default_hooks.checkpoint.update(by_epoch=True, interval=1)
        cfg.param_scheduler = [
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=6),
            dict(type='CosineAnnealingLR', T_max=epochs),
        ]
        return cfg

    whole = watched(config('whole', epochs=4))
    watched(config('longer', epochs=2))
    rates = watched(config('longer', epochs=4, resume='auto'))
    assert list(rates) == list(range(9, 17))
    for step, values in rates.items():
        assert values == pytest.approx(whole[step]), step


def test_a_schedule_by_a_metric_stays_and_others_say_so(tmp_path, quick):
    def config(patience: int, end: int, **settings: Any) -> Config:
        plateau = dict(type='ReduceOnPlateauLR', monitor='loss', patience=patience)
        cfg = toy_config(tmp_path, steps=end, **settings)
        cfg.param_scheduler = [*schedule(end), plateau]
        return cfg

    lowest = watched(config(patience=1, end=6))[6]
    assert watched(config(patience=1, end=9, resume='auto'))[9] == lowest
    log = max(tmp_path.glob('*/*.log')).read_text()
    assert 'the schedules stay those of the checkpoint' in log and 'load_from' in log


def test_a_run_without_a_schedule_goes_on_with_one(tmp_path, quick):
    def config(name: str, **settings: Any) -> Config:
        cfg = toy_config(tmp_path / name, steps=6, **settings)
        cfg.optim_wrapper.optimizer = dict(type='Adam', lr=0.1)
        return cfg

    whole = watched(config('whole', param_scheduler=schedule(6)))
    watched(config('run'), stop_at=4)
    cfg = config('run', param_scheduler=schedule(6), resume='auto')
    assert watched(cfg) == {step: pytest.approx(whole[step]) for step in (5, 6)}
    (group,) = load_file(tmp_path / 'run' / 'iter_6.pth')['optimizer']['param_groups']
    assert 'nesterov' not in group  # of another optimizer


def test_a_resumed_run_with_its_own_schedule_is_left_alone(tmp_path, quick):
    def config(**settings: Any) -> Config:
        return toy_config(tmp_path, steps=6, param_scheduler=schedule(6), **settings)

    whole = watched(config())
    watched(config(), stop_at=4)
    assert watched(config(resume='auto')) == {step: whole[step] for step in (5, 6)}
    assert 'follow the config' not in max(tmp_path.glob('*/*.log')).read_text()


@pytest.mark.parametrize(
    ('optimizer', 'scheduler', 'kept'),
    [
        ('Adam', dict(type='CosineAnnealingMomentum', eta_min=0.1), 'momentum'),
        (
            'SGD',
            dict(type='LinearParamScheduler', param_name='weight_decay'),
            'weight_decay',
        ),
        ('SGD', dict(type='OneCycleLR', eta_max=0.3, total_steps=9), 'lr'),
        ('SGD', dict(type='OneCycleLR', eta_max=[0.3, 0.2, 0.1], total_steps=9), 'lr'),
    ],
)
def test_other_schedules_resume_as_they_are(
    optimizer, scheduler, kept, tmp_path, quick
):
    def config(**settings: Any) -> Config:
        cfg = toy_config(tmp_path, steps=6, **settings)
        cfg.optim_wrapper = dict(
            optimizer=dict(type=optimizer, lr=0.1, weight_decay=0.1),
            paramwise_cfg=GROUPS,
        )
        cfg.param_scheduler = [dict(scheduler, by_epoch=False)]
        return cfg

    whole = watched(config(), parameter=kept)
    watched(config(), stop_at=4)
    rates = watched(config(resume='auto'), parameter=kept)
    assert rates == {step: whole[step] for step in (5, 6)}
    assert whole[5] != whole[6]
    log = max(tmp_path.glob('*/*.log')).read_text()
    assert 'follow the config' not in log and 'the schedules stay' not in log


def test_half_of_a_longer_schedule_is_said(tmp_path, quick):
    watched(toy_config(tmp_path, steps=9, param_scheduler=schedule(6)), stop_at=1)
    log = max(tmp_path.glob('*/*.log')).read_text()
    assert (
        'near its lowest, 0, from step 6 of 9' in log
        and 'param_scheduler.1.end=9' in log
    )


def test_epochs_that_would_never_end_are_refused(tmp_path):
    for loop in (
        dict(by_epoch=True, max_epochs=2),
        dict(type='EpochBasedTrainLoop', max_epochs=2),
    ):
        cfg = toy_config(tmp_path, steps=2)
        cfg.train_cfg = loop
        with pytest.raises(ConfigError, match=r'InfiniteSampler .*Default.*IterBased'):
            build_runner(cfg, training=True)


def try_to_lock(folder: Path) -> str:
    """What another process is told that wants to train in a work directory."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        work_dir_lock.held.clear()  # only of the parent
        try:
            work_dir_lock.lock_work_dir(folder)
        except ConfigError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as told:
        return told.read()


def test_one_training_at_a_time_in_a_work_directory(tmp_path, quick):
    # As one that was killed leaves it.
    (tmp_path / '.lock').write_text('{"host": "elsewhere", "pid": 1}')
    runner = build_runner(toy_config(tmp_path, steps=1), training=True)
    told = try_to_lock(tmp_path)
    assert f'process {os.getpid()} on {socket.gethostname()}' in told
    assert 'give another --work-dir' in told
    build_runner(toy_config(tmp_path, steps=1), training=True)  # the same process may
    runner.train()
    assert try_to_lock(tmp_path) == ''


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs /dev/full')
def test_a_full_disk_does_not_keep_the_lock_from_being_taken(tmp_path):
    (tmp_path / '.lock').symlink_to('/dev/full')
    work_dir_lock.lock_work_dir(tmp_path)
    assert tmp_path.resolve() in work_dir_lock.held
    work_dir_lock.unlock_work_dir(tmp_path)
    assert tmp_path.resolve() not in work_dir_lock.held


def test_the_schedule_that_ends_last_is_warned_of(tmp_path, quick):
    """In epochs or in steps, of which there are more."""
    cfg = toy_config(tmp_path, steps=12)
    cfg.train_cfg = dict(by_epoch=True, max_epochs=3)
    cfg.train_dataloader.sampler.type = 'DefaultSampler'
    cfg.param_scheduler = [
        dict(type='LinearLR', by_epoch=False, end=3),
        dict(type='CosineAnnealingLR', begin=1, end=2),
    ]
    watched(cfg, stop_at=1)
    log = max(tmp_path.glob('*/*.log')).read_text()
    assert 'from epoch 2 of 3 on: set param_scheduler.1.end=3' in log


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
