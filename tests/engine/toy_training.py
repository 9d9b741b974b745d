"""A training of a few steps with a model of one layer, and the rates of its steps."""

import time
from itertools import count
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, MODELS
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
