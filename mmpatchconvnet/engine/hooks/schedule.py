"""Learning rates of a resumed run that follow its config."""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.optim.scheduler.param_scheduler import INF
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import FlexibleRunner, IterBasedTrainLoop, Runner

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

    If some are of something else than the learning rate, or by a metric
    (`ReduceOnPlateauLR`), all stay as mmengine resumes them; a warning says so if the
    config has others. Those of several optimizers stay too.

    Also warns if a schedule ends at a low rate before the training does, or after it,
    or counts epochs in a training of steps.
    """

    priority = 'VERY_HIGH'  # before any hook that logs or saves a rate

    def before_train(self, runner: Runner | FlexibleRunner) -> None:
        schedulers = runner.param_schedulers
        if not isinstance(schedulers, list) or not schedulers:
            return
        if runner.iter:
            follow_config(runner, schedulers)
        warn_of_floor(runner, schedulers)
        warn_of_rest(runner, schedulers)


def follow_config(runner: Runner | FlexibleRunner, schedulers: list[Any]) -> None:
    """Set schedulers and rates to what the config gives at the current step."""
    settings = runner.cfg.get('param_scheduler')
    if not settings:
        return
    groups = runner.optim_wrapper.param_groups
    stand_in = optimizer_at_start(runner)
    fresh = build_schedulers(runner, settings, stand_in)
    changes = differences(schedulers, fresh)
    old, new = map(first_rate, (groups, stand_in.param_groups))
    if old != new:
        changes.append(f'lr {old:g} is now {new:g}')
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
    for group, now in zip(groups, stand_in.param_groups, strict=True):
        # lr, initial_lr and those of OneCycleLR
        group.update({k: v for k, v in now.items() if f'_{k}'.endswith('_lr')})
    for scheduler, now in zip(schedulers, fresh, strict=True):
        vars(scheduler).update({k: v for k, v in vars(now).items() if k != 'optimizer'})
    runner.logger.warning(
        f'from step {runner.iter} on the learning rates follow the config, which '
        f'differs from that of the checkpoint ({shown}).'
    )


def first_rate(groups: list[dict]) -> float:
    """The rate before step 0 of the last group, the base of all where groups differ."""
    return groups[-1].get('initial_lr', groups[-1]['lr'])


def optimizer_at_start(runner: Runner | FlexibleRunner) -> torch.optim.Optimizer:
    """One with the groups of the run before step 0, at the rate of the config."""
    wrapper: Any = runner.optim_wrapper
    base = first_rate(wrapper.param_groups)
    scaling = runner.cfg.get('auto_scale_lr') or {}
    # torch resumes the groups of an optimizer, and leaves its defaults.
    known = base and not scaling.get('enable')
    ratio = wrapper.optimizer.defaults['lr'] / base if known else 1
    groups = []
    for group in wrapper.param_groups:
        start = {name: group.get(f'initial_{name}', group[name]) for name in group}
        start['lr'] *= ratio
        start.pop('initial_lr', None)
        groups.append(dict(start, params=[torch.zeros(1)]))
    stand_in = torch.optim.SGD(groups, lr=1.0)
    stand_in.defaults = wrapper.optimizer.defaults  # read by schedules of momentum
    return stand_in


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
    lengths = {True: runner.max_epochs, False: runner.max_iters}
    ends = {
        index: one.end / lengths[one.by_epoch]
        for index, one in enumerate(schedulers)
        if one.param_name == 'lr'
    }
    if not ends:
        return
    index = max(ends, key=lambda index: ends[index])
    last = schedulers[index]
    length, unit = lengths[last.by_epoch], 'epoch' if last.by_epoch else 'step'
    floor = getattr(last, 'eta_min', None)
    if floor is None or last.end >= length or floor > FLOOR * max(last.base_values):
        return
    runner.logger.warning(
        f'the learning rate stays near its lowest, {floor:g}, from {unit} {last.end} '
        f'of {length} on: set param_scheduler.{index}.end={length}.'
    )


def warn_of_rest(runner: Runner | FlexibleRunner, schedulers: list[Any]) -> None:
    """Warn if training ends before schedules do, or if they count what it does not."""
    lengths = {True: runner.max_epochs, False: runner.max_iters}
    late, unused = [], []
    for index, one in enumerate(schedulers):
        name = f'param_scheduler.{index} ({type(one).__name__})'
        if one.by_epoch and isinstance(runner.train_loop, IterBasedTrainLoop):
            unused.append(name)
            continue
        length, unit = lengths[one.by_epoch], 'epoch' if one.by_epoch else 'step'
        milestones = getattr(one, 'milestones', None)
        # Of a schedule with milestones the end is only a bound.
        end = one.begin + max(milestones) if milestones else one.end
        if length < end < INF:
            late.append(f'{name} at {unit} {end} instead of {length}')
    if late:
        runner.logger.warning(
            f'training ends before its schedules do, {" and ".join(late)}: set their '
            'begin and end, or milestones, within the training, or raise max_iters or '
            'max_epochs in train_cfg.'
        )
    if unused:
        runner.logger.warning(
            'the training counts steps, so schedules that count epochs never change '
            f'a rate, {" and ".join(unused)}: set their by_epoch=False, and begin and '
            'end, or milestones, in steps.'
        )
