"""A training of a few steps with a model of one layer, and the rates of its steps."""

import random
import time
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from torch import nn

from mmpatchconvnet.engine.launch import build_runner

NUMBERS = count()


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


@DATASETS.register_module()
class SlowToyData(ToyData):
    """Leaves time to interrupt a training of some hundred steps."""

    def __getitem__(self, index: int) -> dict:
        time.sleep(0.01)
        return super().__getitem__(index)


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


def watched(cfg: Config, stop_at: int = -1, **watch: str) -> dict[int, list[float]]:
    """Train, and return the rates of each step."""
    watch = dict(type='Watch', stop_at=stop_at, priority='HIGHEST', **watch)
    cfg.custom_hooks = [watch]
    runner = build_runner(cfg, training=True)
    runner.train()
    (watch,) = (hook for hook in runner.hooks if isinstance(hook, Watch))
    return watch.rates


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


def noisy_config(
    folder: Path, steps: int = 8, workers: int = 0, **settings: Any
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
    cfg.default_hooks.checkpoint.update(by_epoch=True, interval=1)
    cfg.param_scheduler = dict(type='StepLR', step_size=1, gamma=0.5)
    return cfg
