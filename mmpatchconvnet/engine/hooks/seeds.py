"""Random numbers that depend on seed and iteration, and on nothing before."""

import contextlib
import random
from typing import Any

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import BatchSampler, DataLoader, get_worker_info

from mmpatchconvnet.registry import HOOKS

# What a seed is for; two purposes never share one.
TRAINING, LOADING = 1, 2


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Seeds python, numpy and torch for each training step and each loaded batch.

    The seed is made of the run's seed, the rank and the number of the step, in the data
    workers of the batch. So a resumed run draws what it would have drawn without the
    stop, no two ranks draw the same, and no checkpoint has to carry the states of
    generators. Validation does not change what training draws, and workers that are
    restarted for each epoch do not repeat the augmentations of the first.

    The order of the data is mmengine's: its loops skip on resume what was already seen.
    Not the same as without the stop are

    - an `EpochBasedTrainLoop` resumed within an epoch, which mmengine restarts;
    - an `IterBasedTrainLoop` with `fast_forward_on_resume=True`, which restarts its
      data, though with new augmentations;
    - gradients accumulated over steps, when the checkpoint falls between these steps;
    - with `num_workers=0`, mmengine 0.10.7 and an `IterBasedTrainLoop`, the pictures of
      the first step, as the skipped ones are loaded in the same process;
    - the augmentations in workers, where an mmengine older than the tested one starts
      the workers of an `IterBasedTrainLoop` before the training;
    - GPU kernels that are not deterministic (`randomness=dict(deterministic=True)`).
    """

    priority = 'LOWEST'  # after all that may draw between two steps

    def before_train(self, runner: Runner) -> None:
        loader = runner.train_dataloader
        # Each pass over the data draws one number, a resumed run has one pass more.
        loader.generator = torch.Generator().manual_seed(runner.seed)
        self.workers = SeededWorkers(loader, runner) if loader.num_workers else None
        self.seed_step(runner, runner.iter)

    def before_train_epoch(self, runner: Runner) -> None:
        if self.workers:
            self.workers.first_batch = first_batch(runner)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        self.seed_step(runner, runner.iter + 1)

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        self.seed_step(runner, runner.iter)

    def seed_step(self, runner: Runner, step: int) -> None:
        """Seed the generators for one training step of this rank."""
        seed_generators(TRAINING, runner.seed, step, runner.rank)


class SeededWorkers:
    """Seeds each worker of a loader before each of its batches.

    A worker does not know the number of its batch. torch distributes the batches in
    turn, so the worker can count them.

    Args:
        loader: Its `collate_fn` and `worker_init_fn` are wrapped.
        runner: Provides seed, rank and loop.
    """

    def __init__(self, loader: DataLoader, runner: Runner) -> None:
        self.key = (LOADING, runner.seed, runner.rank)
        self.num_workers = loader.num_workers
        self.first_batch = 0
        self.by_pass = reads_in_passes(runner)
        # Workers that outlive a pass are dealt out from the first one again.
        self.pass_length = pass_length(runner)
        self.inner_collate, loader.collate_fn = loader.collate_fn, self.collate
        self.inner_start, loader.worker_init_fn = loader.worker_init_fn, self.start

    def start(self, worker: int) -> None:
        """In a new worker, before its first batch."""
        if self.inner_start is not None:
            self.inner_start(worker)
        self.worker = self.next = worker
        info: Any = get_worker_info()  # its seed is new in each pass over the data
        self.pass_key = (info.seed - worker,) if self.by_pass else ()
        self._seed()

    def collate(self, samples: list) -> Any:
        """In a worker, when the samples of a batch are loaded."""
        batch = self.inner_collate(samples)
        self.next += self.num_workers
        if self.pass_length is not None and self.next >= self.pass_length:
            self.first_batch += self.pass_length
            self.next = self.worker
        self._seed()
        return batch

    def _seed(self) -> None:
        seed_generators(*self.key, self.first_batch + self.next, *self.pass_key)


def first_batch(runner: Runner) -> int:
    """The number of the batch that workers started now load first.

    That is 0 where mmengine loads all that a resumed run has already seen and throws it
    away, which `fast_forward_on_resume` turns off.
    """
    replays = reads_in_passes(runner) and not getattr(
        runner.train_loop, 'fast_forward_on_resume', False
    )
    return 0 if replays else runner.iter


def pass_length(runner: Runner) -> int | None:
    """After how many batches the loader restarts, where it does and that is known."""
    if isinstance(runner.train_loop, EpochBasedTrainLoop) or reads_in_passes(runner):
        with contextlib.suppress(TypeError):  # an iterable data set has no length
            return len(runner.train_dataloader)
    return None


def reads_in_passes(runner: Runner) -> bool:
    """Whether a loop of steps restarts its loader, whose sampler cannot skip."""
    batches: Any = runner.train_dataloader.batch_sampler
    can_skip = type(batches) is BatchSampler and hasattr(batches.sampler, 'skip')
    return isinstance(runner.train_loop, IterBasedTrainLoop) and not can_skip


def seed_generators(*key: int) -> None:
    """Seed python, numpy and torch, on every device, with a hash of some numbers."""
    words = np.random.SeedSequence(key).generate_state(4)
    random.seed(words.tobytes())
    np.random.seed(words)
    if get_device() == 'cpu':  # without torch's preparations for other devices
        torch.default_generator.manual_seed(int(words[0]))
    else:
        torch.manual_seed(int(words[0]))
