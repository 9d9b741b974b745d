"""From a config file and a command line to a checked Runner of mmengine.

The config's `default_scope` decides which host builds it, so one train and one test
script serve mmpretrain, mmdet and mmseg.
"""

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmpatchconvnet.engine.atomic_files import ATOMIC_BACKEND
from mmpatchconvnet.engine.config_checks import (
    ConfigError,
    check_config,
    check_features,
)


def load_config(
    path: str,
    work_dir: str | None = None,
    data_root: str | None = None,
    options: dict | None = None,
    launcher: str = 'none',
    seed: int | None = None,
) -> Config:
    """Read a config and lay the command line over it.

    Args:
        path: The config file.
        work_dir: Where logs and checkpoints go; `work_dirs/<name of the config>` unless
            it or the config says otherwise.
        data_root: Takes the place of the config's `data_root` wherever a path starts
            with it, that of the evaluator too.
        options: Dotted keys and values, as from `--cfg-options`.
        launcher: `none`, `pytorch`, `slurm` or `mpi`.
        seed: Seed of all random numbers.

    Raises:
        ConfigError: There is no such file, or no `data_root` to take the place of.
    """
    if not Path(path).is_file():
        raise ConfigError(f'{path} is no file: give a config file.')
    cfg = Config.fromfile(path)
    if data_root is not None:
        cfg = replace_data_root(cfg, data_root)
    if options:
        cfg.merge_from_dict(options)
    cfg.launcher = launcher
    cfg.work_dir = work_dir or cfg.get('work_dir') or f'work_dirs/{Path(path).stem}'
    if seed is not None:
        cfg.randomness = dict(cfg.get('randomness', {}), seed=seed)
    hook = cfg.setdefault('default_hooks', {}).setdefault('checkpoint', {})
    hook.setdefault('type', 'CheckpointHook')
    hook.setdefault('backend_args', dict(backend=ATOMIC_BACKEND))
    return cfg


def replace_data_root(cfg: Config, root: str) -> Config:
    """The config with another folder wherever its top-level `data_root` stood."""
    old = cfg.get('data_root')
    if not old:
        raise ConfigError(
            f'--data-root {root} has nothing to replace: the config has no data_root '
            'at its top level; use --cfg-options instead.'
        )

    def replaced(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: replaced(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(replaced(item) for item in value)
        if isinstance(value, str) and value.startswith(old):
            return str(Path(root, value[len(old) :].lstrip('/')))
        return value

    return Config(replaced(cfg.to_dict()), filename=cfg.filename)


def use_amp(cfg: Config) -> None:
    """Train in mixed precision."""
    if not torch.cuda.is_available():
        raise ConfigError(
            '--amp needs a GPU, and torch sees none here: leave it out on a CPU.'
        )
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def build_runner(cfg: Config, training: bool) -> Runner:
    """A Runner whose config, data and feature maps have been checked.

    Raises:
        ValueError: One sentence on what is wrong, before anything is trained.
    """
    loaders = ('train_dataloader', 'val_dataloader') if training else ()
    check_config(cfg, loaders or ('test_dataloader',))
    if not training:
        for key in ('train_dataloader', 'train_cfg', 'optim_wrapper'):
            cfg[key] = None
        cfg.param_scheduler = None
    runner = Runner.from_cfg(cfg)
    check_features(getattr(runner.model, 'module', runner.model))
    return runner
