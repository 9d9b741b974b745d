"""Every loop and loader, stopped and resumed, draws what it would have drawn."""

import contextlib
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from mmpatchconvnet.engine.hooks.seeds import IterationSeedHook


class NoisyData(torch.utils.data.Dataset):
    """Each number with noise from all three generators."""

    def __len__(self) -> int:
        return 17

    def __getitem__(self, index: int) -> torch.Tensor:
        noise = random.random() + np.random.rand() + torch.rand(()).item()
        return torch.tensor([index / 10, noise])


class NoisyModel(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 1))

    def forward(self, *batch: torch.Tensor, mode: str = 'tensor') -> dict | list:
        loss = self.layers(torch.stack(batch)).square().mean()
        return dict(loss=loss) if mode == 'loss' else [loss]


class StopHook(Hook):
    """Keeps the losses, and fails after a number of steps."""

    def __init__(self, stop_at: int | None) -> None:
        self.stop_at = stop_at
        self.losses: list[float] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs['loss'].item())
        if runner.iter + 1 == self.stop_at:
            raise KeyboardInterrupt


class DrawingEvaluator:
    """A validation that draws random numbers."""

    def process(self, **_) -> None:
        torch.rand(3), np.random.rand(3), random.random()

    def evaluate(self, _) -> dict:
        return {}


LOOPS = {
    'epochs': dict(type='EpochBasedTrainLoop', max_epochs=4),
    'steps': dict(type='IterBasedTrainLoop', max_iters=20, val_interval=4),
}


def losses_of(
    work_dir: Path,
    loop: str,
    sampler: str,
    num_workers: int,
    persistent: bool = False,
    stop_at: int | None = None,
    *more_hooks: Hook,
    **loop_settings: bool,
) -> list[float]:
    """The losses of a run of 20 steps, or of what is left of a stopped one."""

    def loader(kind: str, num_workers: int) -> dict:
        return dict(
            dataset=NoisyData(),
            batch_size=4,
            num_workers=num_workers,
            sampler=dict(type=kind, shuffle=True),
            persistent_workers=persistent and num_workers > 0,
        )

    stop = StopHook(stop_at)
    torch.manual_seed(0)
    runner = Runner(
        NoisyModel(),
        str(work_dir),
        train_dataloader=loader(sampler, num_workers),
        val_dataloader=loader('DefaultSampler', 0),
        val_evaluator=dict(type='Evaluator', metrics=[]),
        train_cfg=dict(LOOPS[loop], **loop_settings),
        val_cfg=dict(),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-3, momentum=0.9)),
        default_hooks=dict(
            checkpoint=dict(
                type='CheckpointHook',
                by_epoch=loop == 'epochs',
                interval=1 if loop == 'epochs' else 5,
            )
        ),
        custom_hooks=[IterationSeedHook(), stop, *more_hooks],
        default_scope='mmengine',
        randomness=dict(seed=3),
        resume=True,
        log_level='ERROR',
        experiment_name=f'{work_dir}_{stop_at}',
    )
    runner.val_loop.evaluator = DrawingEvaluator()
    with contextlib.suppress(KeyboardInterrupt):
        runner.train()
    # End the workers: the garbage collector would wait ten seconds for each pair.
    vars(runner.train_loop).pop('dataloader_iterator', None)
    runner.train_dataloader._iterator = None
    return stop.losses


@pytest.mark.parametrize(
    ('loop', 'sampler', 'num_workers', 'persistent'),
    [
        ('steps', 'InfiniteSampler', 0, False),
        ('steps', 'InfiniteSampler', 2, True),
        ('steps', 'DefaultSampler', 2, False),  # cannot skip: loads all again
        ('steps', 'DefaultSampler', 2, True),
        ('epochs', 'DefaultSampler', 0, False),
        ('epochs', 'DefaultSampler', 2, False),
        ('epochs', 'DefaultSampler', 2, True),
    ],
)
def test_every_loop_goes_on_as_without_the_stop(
    loop, sampler, num_workers, persistent, tmp_path, monkeypatch
):
    # mmengine waits two seconds wherever a loop of steps begins the data again.
    never = SimpleNamespace(sleep=lambda seconds: None)
    monkeypatch.setattr('mmengine.runner.loops.time', never)
    settings = (loop, sampler, num_workers, persistent)
    whole = losses_of(tmp_path / 'whole', *settings)
    assert len(whole) == 20
    stopped = losses_of(tmp_path / 'stopped', *settings, stop_at=12)
    resumed = losses_of(tmp_path / 'stopped', *settings)
    assert stopped == whole[:12]
    assert resumed == whole[10:]


class NoiseOnly(Hook):
    """Keeps the noise that the workers have drawn for each batch."""

    def __init__(self) -> None:
        self.noise: list[float] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.noise += [sample[1].item() for sample in data_batch]


@pytest.mark.parametrize('persistent', [False, True])
def test_noise_is_new_in_each_pass_and_after_a_resume_without_a_replay(
    persistent, tmp_path, monkeypatch
):
    never = SimpleNamespace(sleep=lambda seconds: None)
    monkeypatch.setattr('mmengine.runner.loops.time', never)
    settings = ('steps', 'DefaultSampler', 2, persistent)
    drawn = NoiseOnly()

    def run(stop_at: int | None = None) -> list[float]:
        drawn.noise = []
        fast = dict(fast_forward_on_resume=True)
        losses_of(tmp_path / 'run', *settings, stop_at, drawn, **fast)
        return drawn.noise

    stopped, resumed = run(stop_at=12), run()
    # Twelve steps are two passes of five batches, 17 pictures, and a part of a third.
    assert len(set(stopped)) == len(stopped) == 2 * 17 + 2 * 4
    assert len(set(resumed)) == len(resumed) == 2 * 17
    # The steps behind the checkpoint are repeated, with other data; no other noise is.
    assert not set(resumed) & set(stopped[: 2 * 17])


def test_epochs_and_numbers_of_workers_do_not_repeat_or_change_noise(tmp_path):
    losses = [
        losses_of(tmp_path / f'{n}', 'epochs', 'DefaultSampler', n) for n in (1, 2)
    ]
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == 20


def test_ranks_draw_different_numbers_and_the_same_again():
    def draws(rank: int) -> tuple[float, float, float]:
        runner = SimpleNamespace(seed=3, rank=rank, iter=5)
        IterationSeedHook().after_train_iter(runner, 0)
        return random.random(), np.random.rand(), torch.rand(()).item()

    assert all(a != b for a, b in zip(draws(0), draws(1), strict=True))
    assert draws(1) == draws(1)
