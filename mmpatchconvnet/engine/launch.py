"""From a config file and a command line to a checked Runner of mmengine.

The config's `default_scope` decides which host builds it, so one train and one test
script serve mmpretrain, mmdet and mmseg.
"""

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseTTAModel
from mmengine.registry import RUNNERS
from mmengine.runner import FlexibleRunner, Runner

from mmpatchconvnet.checkpoints import check_start, local_file
from mmpatchconvnet.config_files import ConfigError, datasets_of, read_config
from mmpatchconvnet.engine.bad_files import guard_data
from mmpatchconvnet.engine.config_checks import (
    DATALOADERS,
    check_config,
    check_features,
)
from mmpatchconvnet.engine.config_options import check_options
from mmpatchconvnet.engine.distributed import is_first_process, prepare_processes
from mmpatchconvnet.engine.finite_steps import FiniteStepsHook
from mmpatchconvnet.engine.hooks.schedule import ResumedScheduleHook
from mmpatchconvnet.engine.hooks.signals import SignalHook
from mmpatchconvnet.engine.loop_checks import check_train_loop
from mmpatchconvnet.engine.provenance import EvaluationRunner, write_environment
from mmpatchconvnet.engine.resume import (
    agree_on_checkpoint,
    choose_checkpoint,
    tell_earlier,
)
from mmpatchconvnet.engine.run_faults import (
    check_work_dir,
    explain_faults,
    log_what_fits,
)
from mmpatchconvnet.engine.work_dir_lock import UnlockHook, lock_work_dir
from mmpatchconvnet.large_pictures import (
    bound_label_maps,
    bound_masks,
    takes_encoded_masks,
)
from mmpatchconvnet.nested import make_plain
from mmpatchconvnet.unknown_arguments import explain_arguments


def load_config(
    config: str,
    work_dir: str | None = None,
    data_root: str | None = None,
    options: dict | None = None,
    launcher: str = 'none',
    seed: int | None = None,
) -> Config:
    """Read a config and apply the command line to it.

    Args:
        config: The config file, or `PACKAGE::NAME`, as in `_base_`.
        work_dir: Where logs and checkpoints go; `work_dirs/<its name>` unless
            it or the config says otherwise.
        data_root: Replaces the config's `data_root` wherever a path starts with
            it, also in the evaluator.
        options: Dotted keys and values, as from `--cfg-options`.
        launcher: `none`, `pytorch`, `slurm` or `mpi`.
        seed: Seed of all random numbers.

    Raises:
        ConfigError: There is no such file, no `data_root` to replace, or an option that
            nothing reads.
    """
    cfg = read_config(config)
    if data_root is not None:
        cfg = replace_data_root(cfg, data_root)
    if options:
        check_options(cfg, options)
        cfg.merge_from_dict(options)
    make_plain(cfg._cfg_dict)
    cfg.launcher = launcher
    cfg.work_dir = work_dir or cfg.get('work_dir') or f'work_dirs/{Path(config).stem}'
    if seed is not None:
        cfg.randomness = dict(cfg.get('randomness', {}), seed=seed)
    save_whole_checkpoints(cfg)
    for name in DATALOADERS:
        without_workers(cfg.get(name))
    return cfg


def without_workers(loader: dict | None) -> None:
    """Leave out what a dataloader may only set if it has workers.

    A user who sets `num_workers=0` to debug inherits these from a host.
    """
    if loader and not loader.get('num_workers'):
        for key in ('persistent_workers', 'prefetch_factor'):
            loader.pop(key, None)


def save_whole_checkpoints(cfg: Config) -> None:
    """Write whole checkpoints, and one at the end of every run.

    This is the only hook that training changes, for safety.
    """
    hooks = cfg.get('default_hooks') or {}
    checkpoint = hooks.get('checkpoint', dict(type='CheckpointHook'))
    if checkpoint and checkpoint.get('type') == 'CheckpointHook':
        checkpoint = dict(checkpoint, type='mmpatchconvnet.AtomicCheckpointHook')
        cfg.default_hooks = dict(hooks, checkpoint=checkpoint)


def replace_data_root(cfg: Config, root: str) -> Config:
    """Replace the `data_root` of a config wherever a path starts with it.

    It is the one at the top level, or else the one of the training data.
    """
    old = cfg.get('data_root')
    for dataset in datasets_of(cfg, 'train_dataloader'):
        old = old or dataset.get('data_root')
    old = (old or '').rstrip('/')
    if not old:
        raise ConfigError(
            f'--data-root {root} has nothing to replace: neither the config nor its '
            'training data has a data_root; use --cfg-options instead.'
        )

    def replaced(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: replaced(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(replaced(item) for item in value)
        if isinstance(value, str) and f'{value}/'.startswith(f'{old}/'):
            return str(Path(root, value[len(old) :].lstrip('/')))
        return value

    return Config(replaced(cfg.to_dict()), cfg_text=cfg.text, filename=cfg.filename)


def use_amp(cfg: Config) -> None:
    """Train in mixed precision."""
    if not torch.cuda.is_available():
        raise ConfigError(
            '--amp needs a GPU, and torch sees none here: leave it out on a CPU.'
        )
    kind = (cfg.get('optim_wrapper') or {}).get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise ConfigError(
            f'--amp cannot change optim_wrapper.type={kind}: set up mixed precision in '
            'the config instead.'
        )
    cfg.merge_from_dict({'optim_wrapper.type': 'AmpOptimWrapper'})
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def build_runner(
    cfg: Config,
    training: bool,
    skip_bad_files: bool = False,
    skip_bad_steps: int = 0,
) -> Runner | FlexibleRunner:
    """A Runner whose config, data and feature maps have been checked.

    Its class is the config's `runner_type`, as in the hosts' own train scripts.

    Args:
        cfg: A config from `load_config`.
        training: Whether it trains, or tests.
        skip_bad_files: Whether training goes on without files that cannot be read.
        skip_bad_steps: How many steps with a loss or gradient that is not finite are
            skipped before training stops.

    Raises:
        ValueError: One sentence on what is wrong, before anything is trained. That
            includes another process that trains in the same work directory.
    """
    loaders = ('train_dataloader', 'val_dataloader') if training else ()
    warnings = check_config(cfg, loaders or ('test_dataloader',), skip_bad_files)
    if not training:
        # The given checkpoint is tested, whatever the config starts from.
        cfg.load_from, cfg.resume = None, False
        for key in ('train_dataloader', 'train_cfg', 'optim_wrapper'):
            cfg[key] = None
        cfg.param_scheduler = None
        # A checkpoint is whole however it was trained, and every process can hold it.
        cfg.pop('runner_type', None)
        cfg.pop('strategy', None)
    if training:
        check_train_loop(cfg)
    prepare_processes(cfg)
    if is_first_process(cfg):
        check_work_dir(cfg.work_dir)
        if training:
            lock_work_dir(cfg.work_dir)
    notes, content = choose_checkpoint(cfg)
    if training:
        notes += tell_earlier(cfg)
    with explain_faults(cfg.work_dir), explain_arguments(cfg):
        return assemble(
            cfg,
            training,
            skip_bad_files,
            skip_bad_steps,
            [*warnings, *notes],
            content,
        )


def assemble(
    cfg: Config,
    training: bool,
    skip_bad_files: bool,
    skip_bad_steps: int,
    warnings: list[str],
    content: dict | None,
) -> Runner | FlexibleRunner:
    """The Runner of a checked config; see `build_runner`.

    Args:
        cfg: The config, which says what is resumed.
        training: Whether it trains, or tests.
        skip_bad_files: Whether training goes on without files that cannot be read.
        skip_bad_steps: How many steps that are not finite are skipped.
        warnings: For the log.
        content: The checkpoint that is resumed, if it has been read.
    """
    if cfg.get('runner_type'):
        runner = RUNNERS.build(cfg)
    else:
        runner = (Runner if training else EvaluationRunner).from_cfg(cfg)
    log_what_fits(runner)
    guard_data(runner, skip_bad_files)
    for warning in warnings:
        runner.logger.warning(warning)
    if training:
        runner.register_hook(ResumedScheduleHook())
        runner.register_hook(SignalHook())
        runner.register_hook(UnlockHook())
        runner.register_hook(FiniteStepsHook(skip_bad_steps))
    agree_on_checkpoint(runner)
    if cfg.get('load_from'):
        runner._load_from = cfg.load_from = local_file(cfg.load_from)
    write_environment(runner)
    if isinstance(runner.model, dict):  # a FlexibleRunner builds and wraps it later
        runner.model = runner.strategy.build_model(runner.model)
    model = getattr(runner.model, 'module', runner.model)
    check_features(model)
    if not isinstance(runner.model, BaseTTAModel):  # which averages logits
        bound_label_maps(model)
    if takes_encoded_masks(cfg):
        bound_masks(model)
    if cfg.get('load_from') and not Path(cfg.load_from).is_dir():
        check_start(model, cfg.load_from, cfg.get('resume', False), content)
    return runner
