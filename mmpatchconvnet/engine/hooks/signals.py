"""A training that saves its state on a signal, and stops where it can continue."""

from functools import partial
from typing import Any

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import (
    EpochBasedTrainLoop,
    FlexibleRunner,
    IterBasedTrainLoop,
    Runner,
)

from mmpatchconvnet.engine.finite_steps import last_checkpoint
from mmpatchconvnet.engine.hooks.checkpoint import AtomicCheckpointHook
from mmpatchconvnet.stop_signals import Stopped, name_of, received, start_worker

DUE = 'validation_due'  # in mmengine's message hub, which checkpoints hold


class SignalHook(Hook):
    """Acts on the signals that `catch_signals` has noted, when a step is finished.

    SIGTERM and Ctrl-C save the state and raise `Stopped`; SIGUSR1 saves it. With
    several processes all act at the same step, whichever has received the signal.

    While gradients are accumulated it waits for the step that uses them; at the last
    step of an epoch for its end, as schedules by epoch follow then. During validation
    the state is that of the last training step, and a resumed run validates first.
    """

    priority = 'VERY_LOW'  # after the checkpoint hook, which was registered before

    def before_train(self, runner: Runner) -> None:
        self.ignore_in_workers(runner)
        if runner.message_hub.get_info(DUE, False):
            runner.message_hub.update_info(DUE, False)
            if runner.val_loop is not None:
                runner.val_loop.run()

    def ignore_in_workers(self, runner: Runner) -> None:
        for loop in (runner.train_loop, runner.val_loop):
            if loop is not None:
                loader = loop.dataloader
                loader.worker_init_fn = partial(start_worker, loader.worker_init_fn)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        received.running = True

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        epoch_ends = counts_epochs(runner) and self.end_of_epoch(
            runner.train_dataloader, batch_idx
        )
        step = runner.iter + 1
        waits = epoch_ends or validates_after(runner, runner.epoch, step)
        if not waits and not has_pending_gradients(runner):
            stop, save = agree(runner)
            if stop or save:
                act(runner, stop, runner.epoch, step)

    def after_train_epoch(self, runner: Runner) -> None:
        epoch = runner.epoch + 1
        if counts_epochs(runner) and not validates_after(runner, epoch, runner.iter):
            stop, save = agree(runner)
            if stop or save:
                act(runner, stop, epoch, runner.iter)

    def before_val_epoch(self, runner: Runner) -> None:
        self.val_batches = fewest_val_batches(runner)

    def before_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        stop, save = agree(runner) if batch_idx < self.val_batches else (0, False)
        if not stop and not save:
            return
        averages = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
        for hook in averages:  # they have put their weights into the model
            hook.after_val_epoch(runner)
        act(runner, stop, runner.epoch, runner.iter, validates=True)
        for hook in averages:
            hook.before_val_epoch(runner)


def counts_epochs(runner: Runner | FlexibleRunner) -> bool:
    """Whether the training has epochs."""
    return isinstance(runner.train_loop, EpochBasedTrainLoop)


def validates_after(runner: Runner | FlexibleRunner, epoch: int, step: int) -> bool:
    """Whether a validation follows after so many epochs and steps."""
    loop = runner.train_loop
    if runner.val_loop is None:
        return False
    if isinstance(loop, EpochBasedTrainLoop):
        done, end = epoch, loop.max_epochs
    elif isinstance(loop, IterBasedTrainLoop):
        done, end = step, loop.max_iters
    else:
        return False
    return done >= loop.val_begin and (done % loop.val_interval == 0 or done == end)


def has_pending_gradients(runner: Runner | FlexibleRunner) -> bool:
    """Whether there are gradients of earlier steps that a checkpoint does not hold."""
    wrapper: Any = runner.optim_wrapper
    parts = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return not all(one.should_update() for one in parts)


def fewest_val_batches(runner: Runner | FlexibleRunner) -> float:
    """The number of batches that every process has: at these they can agree."""
    if runner.world_size == 1:
        return float('inf')
    try:
        batches = torch.tensor(len(runner.val_dataloader))
    except TypeError:  # an iterable data set has no length
        batches = torch.tensor(0)
    all_reduce(batches, 'min')
    return batches.item()


def agree(runner: Runner | FlexibleRunner) -> tuple[int, bool]:
    """The signal to stop on, or 0, and whether to save, for all processes."""
    if runner.world_size == 1:
        return received.stop, received.save
    flags = torch.tensor([received.stop, received.save])
    all_reduce(flags, 'max')
    stop, save = flags.tolist()
    return stop, bool(save)


def act(
    runner: Runner | FlexibleRunner,
    stop: int,
    epoch: int,
    step: int,
    validates: bool = False,
) -> None:
    """Save the state, and stop if a signal says so.

    Args:
        runner: Has finished so many epochs and steps.
        stop: The signal, or 0.
        epoch: The number of epochs.
        step: The number of steps.
        validates: Whether the validation after them is not finished.

    Raises:
        BadStepError: The weights are not finite.
        Stopped: Whether the state is saved or cannot be.
    """
    received.save = False
    hooks = [hook for hook in runner.hooks if isinstance(hook, AtomicCheckpointHook)]
    path, fault = '', 'nothing is saved, as the config has no checkpoint hook'
    runner.message_hub.update_info(DUE, validates)
    try:
        for hook in hooks[:1]:
            path = hook.save_interim(runner, epoch, step, always=validates)
    except OSError as error:
        last = last_checkpoint(runner.work_dir)
        fault = f'the state cannot be saved ({error.strerror}); {last}'
    runner.message_hub.update_info(DUE, False)
    if not stop:
        outcome = f'the state is saved in {path}' if path else fault
        runner.logger.warning(f'SIGUSR1 at step {step}: {outcome}.')
        return
    outcome = f'--resume continues from {path}' if path else fault
    if path and counts_epochs(runner) and step % len(runner.train_dataloader):
        outcome += f', at the beginning of epoch {epoch + 1}'
    text = f'stopped by {name_of(stop)} at step {step}: {outcome}.'
    raise Stopped(text if is_main_process() else '', stop, together=True)
