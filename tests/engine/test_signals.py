"""SIGTERM saves and stops, SIGUSR1 saves: as if nothing had happened, to the bit."""

import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from torch import nn
from toy_training import toy_config

from mmpatchconvnet.atomic_files import atomic_write
from mmpatchconvnet.checkpoints import load_file
from mmpatchconvnet.engine.hooks import checkpoint as checkpoint_hook
from mmpatchconvnet.engine.launch import build_runner
from mmpatchconvnet.stop_signals import Stopped, catch_signals, received

CAUGHT = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@DATASETS.register_module()
class NoisyToyData(torch.utils.data.Dataset):
    """Numbers with noise from all three generators."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict:
        noise = random.random() + np.random.rand() + torch.rand(()).item()
        return dict(x=torch.tensor([index / 10, noise]))


@MODELS.register_module()
class NoisyToyModel(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.5), nn.Linear(4, 1))

    def forward(self, x: list[torch.Tensor], mode: str = 'tensor') -> Any:
        loss = self.layers(torch.stack(x)).square().mean()
        return dict(loss=loss) if mode == 'loss' else [loss]


@METRICS.register_module()
class NoMetric(BaseMetric):
    def process(self, *_: Any) -> None:
        self.results.append(0)

    def compute_metrics(self, results: list) -> dict:
        return dict(score=len(results))


@HOOKS.register_module()
class Send(Hook):
    """Sends signals to this process in a method of a hook, at a step counted from 1."""

    def __init__(self, *numbers: int, at: int, when: str = 'before_train_iter') -> None:
        def send(runner: Any, batch_idx: int = 0, **_: Any) -> None:
            if runner.iter + ('train_iter' in when) == at and batch_idx < 99:
                self.batch = batch_idx
                while self.numbers:
                    os.kill(os.getpid(), self.numbers.pop(0))

        self.numbers = list(numbers)
        setattr(self, when, send)


def noisy_config(
    folder: Path, steps: int = 8, workers: int = 2, **settings: Any
) -> Config:
    hooks = settings.pop('custom_hooks', [])
    cfg = toy_config(folder, steps, randomness=dict(seed=3), **settings)
    cfg.model.type = 'NoisyToyModel'
    loader = dict(cfg.train_dataloader, num_workers=workers)
    loader['dataset'] = dict(type='NoisyToyData')
    cfg.train_dataloader = dict(loader, persistent_workers=workers > 0)
    cfg.optim_wrapper.optimizer.momentum = 0.9
    cfg.custom_hooks = [dict(type='mmpatchconvnet.IterationSeedHook'), *hooks]
    cfg.default_hooks.logger = dict(type='LoggerHook', interval=100)
    return cfg


def with_validation(cfg: Config, interval: int) -> Config:
    cfg.val_dataloader = dict(
        dataset=dict(type='NoisyToyData'), sampler=dict(type='DefaultSampler')
    )
    cfg.val_evaluator = dict(type='NoMetric')
    cfg.val_cfg = dict()
    cfg.train_cfg.val_interval = interval
    return cfg


def by_epoch(cfg: Config, epochs: int = 3) -> Config:
    """Epochs of four steps."""
    cfg.train_cfg = dict(by_epoch=True, max_epochs=epochs)
    cfg.train_dataloader.update(batch_size=2, sampler=dict(type='DefaultSampler'))
    cfg.default_hooks.checkpoint = dict(type='mmpatchconvnet.AtomicCheckpointHook')
    cfg.param_scheduler = dict(type='StepLR', step_size=1, gamma=0.5)
    return cfg


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
            vars(runner.train_loop).pop('dataloader_iterator', None)  # ends the workers
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
    before = [signal.getsignal(number) for number in CAUGHT]
    yield
    assert [signal.getsignal(number) for number in CAUGHT] == before


@pytest.fixture(scope='module')
def whole(tmp_path_factory) -> dict | str:
    """What a training of 8 steps ends with that receives no signal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            'mmpatchconvnet.engine.launch.write_environment', lambda runner: None
        )
        return end_of(noisy_config(tmp_path_factory.mktemp('whole')))


@pytest.mark.parametrize('when', ['before_train_iter', 'after_train_iter'])
def test_sigterm_saves_the_step_and_resume_ends_as_without_it(when, whole, tmp_path):
    end = end_of(noisy_config(tmp_path), Send(signal.SIGTERM, at=3, when=when))
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
