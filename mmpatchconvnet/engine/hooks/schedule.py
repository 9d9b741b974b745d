"""Learning rates of a resumed run that follow its config."""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import FlexibleRunner, Runner

from mmpatchconvnet.registry import HOOKS

# What changes from step to step; the rest of a scheduler comes from its settings.
STATE = {'optimizer', 'base_values', 'last_step', '_global_step', '_last_value'}
FLOOR = 0.01  # of the rate that a schedule starts from


@HOOKS.register_module()
class ResumedScheduleHook(Hook):
    """Lets a resumed run go on with the schedule and the learning rate of its config.

    mmengine replaces both by those in the checkpoint. So a run that is resumed for more
    steps, with a longer schedule, would train all of these at the lowest rate of the
    old one. With the same schedule and rate, nothing is changed.

    Schedules of something else than the learning rate, or by a metric
    (`ReduceOnPlateauLR`), and those of several optimizers stay as mmengine resumes
    them; a warning says so if the config has others.

    Also warns if a schedule ends at a low rate before the training does.
    """

    priority = 'VERY_HIGH'  # before any hook that logs or saves a rate

    def before_train(self, runner: Runner | FlexibleRunner) -> None:
        schedulers = runner.param_schedulers
        if not isinstance(schedulers, list) or not schedulers:
            return
        if runner.iter:
            follow_config(runner, schedulers)
        warn_of_floor(runner, schedulers)


def follow_config(runner: Runner | FlexibleRunner, schedulers: list[Any]) -> None:
    """Set schedulers and rates to what the config gives at the current step."""
    settings = runner.cfg.get('param_scheduler')
    optimizer: Any = runner.optim_wrapper
    if not settings or isinstance(optimizer, OptimWrapperDict):
        return
    groups = optimizer.param_groups
    ratio = rate_ratio(runner)
    bases = sorted({group['initial_lr'] for group in groups})
    stand_in = torch.optim.SGD(
        [dict(params=[torch.zeros(1)], lr=ratio * base) for base in bases], lr=1.0
    )
    fresh = build_schedulers(runner, settings, stand_in)
    changes = differences(schedulers, fresh)
    if ratio != 1:
        changes.append(f'lr times {ratio:g}')
    if not changes and all(at_step(runner, one) for one in schedulers):
        return
    shown = ', '.join(changes) or 'no schedule in the checkpoint'
    if any(one.param_name != 'lr' or hasattr(one, 'need_val_args') for one in fresh):
        runner.logger.warning(
            f'the schedules stay those of the checkpoint, unlike the config ({shown}): '
            'to train with those of the config, start from the weights with load_from.'
        )
        return
    replay(runner, fresh, stand_in)
    rates = {
        base: (group['initial_lr'], group['lr'])
        for base, group in zip(bases, stand_in.param_groups, strict=True)
    }
    for group in groups:
        group['initial_lr'], group['lr'] = rates[group['initial_lr']]
    values = dict(
        base_values=[group['initial_lr'] for group in groups],
        _last_value=[group['lr'] for group in groups],
    )
    for scheduler, new in zip(schedulers, fresh, strict=True):
        vars(scheduler).update(
            {k: v for k, v in vars(new).items() if k != 'optimizer'} | values
        )
    runner.logger.warning(
        f'from step {runner.iter} on the learning rates follow the config, which '
        f'differs from that of the checkpoint ({shown}).'
    )


def rate_ratio(runner: Runner | FlexibleRunner) -> float:
    """The learning rate of the config, divided by that of the checkpoint."""
    wrapper: Any = runner.optim_wrapper
    scaling = runner.cfg.get('auto_scale_lr') or {}
    # The last group is the base of all, where groups differ.
    base = wrapper.param_groups[-1].get('initial_lr')
    if scaling.get('enable') or not base:
        return 1.0
    # torch resumes the groups of an optimizer, and leaves its defaults.
    return wrapper.optimizer.defaults['lr'] / base


def build_schedulers(runner: Any, settings: Any, optimizer: Any) -> list[Any]:
    """New schedulers at step 0, as mmengine builds them."""
    built = []
    for one in settings if isinstance(settings, (list, tuple)) else [settings]:
        by_epoch = one.get('by_epoch', True)
        end = runner.max_epochs if by_epoch else runner.max_iters
        given = dict(optimizer=optimizer, epoch_length=len(runner.train_dataloader))
        built.append(PARAM_SCHEDULERS.build(dict(end=end) | one, default_args=given))
    return built


def differences(old: list[Any], new: list[Any]) -> list[str]:
    """The settings in which schedulers differ, in words."""
    return [
        f'param_scheduler.{index}: {name} {vars(one).get(name)} is now {value}'
        for index, (one, other) in enumerate(zip(old, new, strict=True))
        for name, value in vars(other).items()
        if name not in STATE
        and not callable(value)
        and vars(one).get(name) != value
        and not hasattr(one, 'need_val_args')
    ]


def at_step(runner: Runner | FlexibleRunner, scheduler: Any) -> bool:
    """Whether a scheduler has made the steps of the run so far."""
    return scheduler.by_epoch or scheduler._global_step == runner.iter


def replay(runner: Any, schedulers: list[Any], optimizer: Any) -> None:
    """Make the steps that the run has behind it."""
    epoch_length = len(runner.train_dataloader)
    optimizer.step()  # or the schedulers would warn that they come before it
    for step in range(1, runner.iter + 1):
        epoch, rest = divmod(step, epoch_length)
        for scheduler in schedulers:
            # A loop of steps stays in epoch 0; one of epochs may stop in an epoch.
            if not scheduler.by_epoch or (not rest and epoch <= runner.epoch):
                scheduler.step()


def warn_of_floor(runner: Runner | FlexibleRunner, schedulers: list[Any]) -> None:
    """Warn if the last steps are trained at the low rate that a schedule ends at."""
    index, last = max(enumerate(schedulers), key=lambda pair: pair[1].end)
    length, unit = (
        (runner.max_epochs, 'epoch') if last.by_epoch else (runner.max_iters, 'step')
    )
    floor = getattr(last, 'eta_min', None)
    if floor is None or last.end >= length or floor > FLOOR * max(last.base_values):
        return
    runner.logger.warning(
        f'the learning rate stays near its lowest, {floor:g}, from {unit} {last.end} '
        f'of {length} on: set param_scheduler.{index}.end={length}.'
    )
