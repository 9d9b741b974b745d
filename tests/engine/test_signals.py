"""SIGTERM saves and stops, SIGUSR1 saves: as if nothing had happened, to the bit."""

import errno
import multiprocessing
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from toy_training import by_epoch, noisy_config, with_validation

from mmpatchconvnet import stop_signals
from mmpatchconvnet.checkpoints import load_file
from mmpatchconvnet.cli import train
from mmpatchconvnet.engine import launch
from mmpatchconvnet.engine.hooks import checkpoint as checkpoint_hook
from mmpatchconvnet.engine.launch import build_runner
from mmpatchconvnet.stop_signals import Stopped, catch_signals

CAUGHT = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@HOOKS.register_module()
class Send(Hook):
    """Sends signals in a method of a hook, at a step counted from 1.

    They go to this process alone, or to all of its group.
    """

    def __init__(
        self,
        *more: int,
        at: int,
        numbers: Sequence[int] = (),
        when: str = 'before_train_iter',
        alone: bool = True,
    ) -> None:
        def send(runner: Any, batch_idx: int = 0, **_: Any) -> None:
            if runner.iter + ('train_iter' in when) == at:
                self.batch = batch_idx
                while self.numbers:
                    number = self.numbers.pop(0)
                    if alone:
                        os.kill(os.getpid(), number)
                    else:  # not from this process, which torch's workers tell apart
                        kill = ('kill', f'-{number:d}', '--', f'-{os.getpgrp()}')
                        subprocess.run(kill)

        self.numbers, self.batch = [*more, *numbers], -1
        setattr(self, when, send)


def end_of(cfg: Config, *hooks: Hook) -> dict | str:
    """The parts of a training that ended, or what it says when stopped by a signal."""
    torch.manual_seed(0)
    with catch_signals():
        runner = build_runner(cfg, training=True)
        for hook in hooks:
            runner.register_hook(hook)
        try:
            runner.train()
        except Stopped as stopped:
            return f'{stopped.status}: {stopped}'
        finally:
            # Ends the workers; the garbage collector would wait for each.
            vars(runner.train_loop).pop('dataloader_iterator', None)
            runner.train_dataloader._iterator = None
    parts = dict(runner.model.state_dict())
    for number, state in runner.optim_wrapper.state_dict()['state'].items():
        parts[f'momentum.{number}'] = state['momentum_buffer']
    return parts


def assert_same(one: dict | str, other: dict | str) -> None:
    assert isinstance(one, dict) and isinstance(other, dict), (one, other)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(autouse=True)
def nothing_is_left(quick):
    # A shell starts a command in the background with SIGINT ignored.
    given = signal.signal(signal.SIGINT, signal.default_int_handler)
    before = [signal.getsignal(number) for number in CAUGHT]
    yield
    assert [signal.getsignal(number) for number in CAUGHT] == before
    signal.signal(signal.SIGINT, given)


@pytest.fixture(scope='module')
def whole(tmp_path_factory) -> dict | str:
    """What a training of 8 steps ends with that receives no signal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            'mmpatchconvnet.engine.launch.write_environment', lambda runner: None
        )
        return end_of(noisy_config(tmp_path_factory.mktemp('whole')))


def test_sigterm_saves_the_step_and_resume_ends_as_without_it(whole, tmp_path):
    end = end_of(noisy_config(tmp_path), Send(signal.SIGTERM, at=3))
    path = tmp_path / 'interim.pth'
    assert end == f'143: stopped by SIGTERM at step 3: --resume continues from {path}.'
    assert (tmp_path / 'last_checkpoint').read_text() == str(path)
    assert load_file(path)['meta']['iter'] == 3
    assert_same(end_of(noisy_config(tmp_path, resume='auto')), whole)


def test_sigusr1_saves_and_the_training_continues(whole, tmp_path):
    send = Send(signal.SIGUSR1, at=3)
    assert_same(end_of(noisy_config(tmp_path), send), whole)
    assert load_file(tmp_path / 'interim.pth')['meta']['iter'] == 3
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'iter_8.pth')


class Validations(Hook):
    """The steps after which validations have ended."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
        self.steps.append(runner.iter)


@pytest.mark.parametrize(
    ('number', 'when'),
    [
        (signal.SIGTERM, 'before_val_iter'),
        (signal.SIGTERM, 'before_train_iter'),
        (signal.SIGUSR1, 'before_val_iter'),
    ],
)
def test_a_signal_during_or_before_validation_saves_the_last_training_step(
    number, when, whole, tmp_path
):
    def cfg(**settings: Any) -> Config:
        average = dict(type='EMAHook', momentum=0.1)
        cfg = noisy_config(tmp_path, custom_hooks=[average], **settings)
        # The regular checkpoint does not say that the validation is not finished.
        cfg.default_hooks.checkpoint.interval = 4
        return with_validation(cfg, interval=4)

    send, validations = Send(number, at=4, when=when), Validations()
    end = end_of(cfg(), send, validations)
    path = tmp_path / 'interim.pth'
    if number == signal.SIGTERM:
        assert end == (
            f'143: stopped by SIGTERM at step 4: --resume continues from {path}.'
        )
        assert send.batch == dict(before_val_iter=0, before_train_iter=3)[when]
        assert validations.steps == []
        end = end_of(cfg(resume='auto'), validations)
    assert validations.steps == [4, 8]
    assert_same(end, whole)
    saved = load_file(path)
    assert saved['meta']['iter'] == 4
    assert not torch.equal(
        saved['state_dict']['layers.0.weight'],
        saved['ema_state_dict']['module.layers.0.weight'],
    )


@pytest.mark.parametrize('when', ['before_run', 'before_train'])
def test_before_the_first_step_there_is_nothing_to_save(when, tmp_path):
    end = end_of(noisy_config(tmp_path), Send(signal.SIGTERM, at=0, when=when))
    assert end == '143: stopped by SIGTERM before the first step: nothing to save.'
    assert not list(tmp_path.glob('*.pth'))


def test_signals_while_a_file_is_written_leave_it_complete(tmp_path, monkeypatch):
    write = checkpoint_hook.atomic_write

    def interrupted(path: Any, content: bytes) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        write(path, content)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(checkpoint_hook, 'atomic_write', interrupted)
    end = end_of(noisy_config(tmp_path), Send(signal.SIGTERM, at=3))
    assert str(end).endswith(f'continues from {tmp_path / "interim.pth"}.')
    assert load_file(tmp_path / 'interim.pth')['meta']['iter'] == 3
    # A regular checkpoint that was being written is the one to continue from.
    cfg = noisy_config(tmp_path)
    cfg.default_hooks.checkpoint.interval = 2
    assert str(end_of(cfg)).endswith(f'continues from {tmp_path / "iter_2.pth"}.')


def test_accumulated_gradients_are_used_before_the_training_stops(tmp_path):
    def cfg(name: str, **settings: Any) -> Config:
        cfg = noisy_config(tmp_path / name, **settings)
        cfg.optim_wrapper.accumulative_counts = 3
        return cfg

    end = end_of(cfg('stopped'), Send(signal.SIGTERM, at=4))
    assert 'stopped by SIGTERM at step 6: --resume' in str(end)
    assert_same(end_of(cfg('stopped', resume='auto')), end_of(cfg('whole')))


def test_epochs_continue_after_the_last_one_and_say_so_within_one(tmp_path):
    end = end_of(by_epoch(noisy_config(tmp_path)), Send(signal.SIGTERM, at=6))
    path = tmp_path / 'interim.pth'
    assert end == (
        f'143: stopped by SIGTERM at step 6: --resume continues from {path}, '
        'at the beginning of epoch 2.'
    )
    assert load_file(path)['meta']['epoch'] == 1
    assert load_file(tmp_path / 'epoch_1.pth')['meta']['iter'] == 4

    def cfg(name: str, **settings: Any) -> Config:
        cfg = by_epoch(noisy_config(tmp_path / name, **settings))
        cfg.default_hooks.checkpoint.interval = 3
        return cfg

    end = end_of(cfg('stopped'), Send(signal.SIGTERM, at=8))
    path = tmp_path / 'stopped' / 'interim.pth'
    assert end == f'143: stopped by SIGTERM at step 8: --resume continues from {path}.'
    assert_same(end_of(cfg('stopped', resume='auto')), end_of(cfg('whole')))


def test_regular_checkpoints_are_kept_as_without_the_signal(tmp_path):
    cfg = noisy_config(tmp_path)
    cfg.default_hooks.checkpoint.update(interval=2, max_keep_ckpts=2)
    end_of(cfg, Send(signal.SIGUSR1, at=5), Send(signal.SIGTERM, at=7))
    kept = ['interim.pth', 'iter_4.pth', 'iter_6.pth']
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == kept
    assert load_file(tmp_path / 'interim.pth')['meta']['iter'] == 7
    cfg = noisy_config(tmp_path, resume='auto')
    cfg.default_hooks.checkpoint.update(interval=2, max_keep_ckpts=2)
    end_of(cfg)
    kept = ['interim.pth', 'iter_6.pth', 'iter_8.pth']
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == kept


def test_what_the_checkpoint_hook_leaves_out_is_saved_on_a_signal(tmp_path):
    def cfg(**settings: Any) -> Config:
        cfg = noisy_config(tmp_path, **settings)
        lean = dict(interval=1, save_last=False, save_optimizer=False)
        cfg.default_hooks.checkpoint.update(lean)
        return cfg

    end = end_of(cfg(), Send(signal.SIGTERM, at=3))
    assert str(end).endswith(f'continues from {tmp_path / "interim.pth"}.')
    assert isinstance(end_of(cfg(resume='auto')), dict)


def test_without_a_checkpoint_hook_or_with_a_full_disk_nothing_is_saved(
    tmp_path, monkeypatch
):
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    cfg = noisy_config(tmp_path)
    cfg.default_hooks.checkpoint = None
    end = end_of(cfg, Send(signal.SIGUSR1, at=2), Send(signal.SIGTERM, at=3))
    assert end == (
        '143: stopped by SIGTERM at step 3: nothing is saved, as the config has no '
        'checkpoint hook.'
    )
    monkeypatch.setattr(checkpoint_hook, 'atomic_write', full)
    cfg = noisy_config(tmp_path)
    end = end_of(cfg, Send(signal.SIGUSR1, at=2), Send(signal.SIGTERM, at=3))
    assert end == (
        '143: stopped by SIGTERM at step 3: the state cannot be saved (No space left '
        f'on device); {tmp_path} has no checkpoint yet.'
    )
    assert not list(tmp_path.glob('*.pth'))


def test_one_ctrl_c_saves_and_a_second_stops_at_once(tmp_path, capfd):
    end = end_of(noisy_config(tmp_path), Send(signal.SIGINT, at=2))
    path = tmp_path / 'interim.pth'
    assert end == f'130: stopped by Ctrl-C at step 2: --resume continues from {path}.'
    path.unlink()
    assert 'a second Ctrl-C stops now and saves nothing' in capfd.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        twice = (signal.SIGTERM, signal.SIGINT)
        end_of(noisy_config(tmp_path), Send(*twice, at=2))
    assert not path.exists()
    with pytest.raises(KeyboardInterrupt):
        early = Send(signal.SIGINT, at=0, when='before_run')
        end_of(noisy_config(tmp_path), early)


def test_other_threads_other_systems_and_ignored_signals(tmp_path, monkeypatch):
    ends: list = []
    cfg = noisy_config(tmp_path, 2)
    thread = threading.Thread(target=lambda: ends.append(end_of(cfg)))
    thread.start()
    thread.join()
    assert isinstance(ends[0], dict)
    monkeypatch.setattr(stop_signals, 'SAVE', None)  # as on Windows
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        cfg = noisy_config(tmp_path, 2)
        assert isinstance(end_of(cfg, Send(signal.SIGTERM, at=1)), dict)
    finally:
        signal.signal(signal.SIGTERM, before)


def command(cfg: Config, **environment: str) -> None:
    """The train command with a config, in a process group of its own."""
    os.setsid()
    os.environ.update(environment)
    torch.set_num_threads(1)  # threads of the parent do not exist here
    launch.load_config = lambda: cfg
    skip = dict(skip_bad_files=False, skip_bad_steps=0)
    train.run(amp=False, resume=None, quiet=True, **skip)


forks = pytest.mark.skipif(torch.cuda.is_available(), reason='CUDA cannot be forked')


@forks
def test_data_workers_live_on_when_the_whole_group_is_told_to_stop(tmp_path, capfd):
    told = dict(type='Send', numbers=[signal.SIGTERM] * 2, at=3, alone=False)
    cfg = noisy_config(tmp_path, workers=2, custom_hooks=[told])
    process = multiprocessing.get_context('fork').Process(target=command, args=[cfg])
    process.start()
    process.join(100)
    path = tmp_path / 'interim.pth'
    text = f'stopped by SIGTERM at step 3: --resume continues from {path}.'
    told = capfd.readouterr().err
    assert process.exitcode == 143, told
    assert told.splitlines()[-1] == text
    assert 'Traceback' not in told
    resumed = end_of(noisy_config(tmp_path, workers=2, resume='auto'))
    assert_same(resumed, end_of(noisy_config(tmp_path / 'whole', workers=2)))


@forks
def test_all_processes_stop_at_the_step_at_which_one_is_told(tmp_path, capfd):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    group = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=port, WORLD_SIZE='2')
    processes = []
    for rank in '01':
        cfg = noisy_config(tmp_path, launcher='pytorch')
        if rank == '1':
            cfg.custom_hooks.append(dict(type='Send', numbers=[15], at=3))
        environment = dict(group, RANK=rank, LOCAL_RANK=rank)
        start = multiprocessing.get_context('fork').Process
        processes.append(start(target=command, args=[cfg], kwargs=environment))
        processes[-1].start()
    for process in processes:
        process.join(100)
    told = capfd.readouterr().err
    assert [process.exitcode for process in processes] == [143, 143], told
    assert told.count('stopped by SIGTERM at step 3: --resume continues from') == 1
    assert load_file(tmp_path / 'interim.pth')['meta']['iter'] == 3
