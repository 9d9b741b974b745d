"""Training in several processes, with or without GPUs.

mmengine starts the process group itself, but only on GPUs: it sets a cuda device for
each process and wraps the model for it. This module adds what a machine without a GPU
needs.
"""

import datetime
import gc
import os
from typing import Any

import torch.distributed as dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from torch import nn

from mmpatchconvnet.config_files import ConfigError
from mmpatchconvnet.registry import MODEL_WRAPPERS

# Launcher -> the program that starts the processes, and its environment variables for
# the rank, the number of processes and the rank within a machine.
LAUNCHERS = {
    'pytorch': ('torchrun', 'RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('srun', 'SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': (
        'mpirun',
        'OMPI_COMM_WORLD_RANK',
        'OMPI_COMM_WORLD_SIZE',
        'OMPI_COMM_WORLD_LOCAL_RANK',
    ),
}


def prepare_processes(cfg: Config) -> None:
    """Without a GPU, start the group on gloo and set a model wrapper for it.

    Raises:
        ConfigError: The processes were not started by the launcher in the config.
    """
    if cfg.get('launcher', 'none') == 'none':
        return
    program, *names = LAUNCHERS[cfg.launcher]
    without_gpu = get_device() == 'cpu'
    for name in (*names, 'MASTER_ADDR', 'MASTER_PORT') if without_gpu else names:
        if name not in os.environ:
            raise ConfigError(
                f'--launcher {cfg.launcher} finds no {name} in the environment: start '
                f'the processes with {program} and set the variables that it does not '
                'set (docs/scaling.md), or leave --launcher out.'
            )
    if not without_gpu:
        return
    for name, given in zip(('RANK', 'WORLD_SIZE', 'LOCAL_RANK'), names, strict=True):
        os.environ[name] = os.environ[given]
    if not dist.is_initialized():
        seconds = ((cfg.get('env_cfg') or {}).get('dist_cfg') or {}).get(
            'timeout', 1800
        )
        dist.init_process_group('gloo', timeout=datetime.timedelta(seconds=seconds))
    if cfg.get('runner_type', 'Runner') == 'Runner':
        cfg.model_wrapper_cfg = wrapper_for_cpu(cfg, cfg.get('model_wrapper_cfg'))
        return
    strategy = cfg.get('strategy') or dict(type='DDPStrategy')
    if strategy['type'] == 'DDPStrategy':
        wrapper = wrapper_for_cpu(cfg, strategy.get('model_wrapper'))
        cfg.strategy = dict(strategy, model_wrapper=wrapper)


def is_first_process(cfg: Config) -> bool:
    """Whether this is the first process of a run, or its only one."""
    launcher = cfg.get('launcher', 'none')
    return launcher == 'none' or int(os.environ[LAUNCHERS[launcher][1]]) == 0


def end_processes() -> None:
    """Leave the process group; a process that exits inside it may be aborted.

    Call it when no runner is in use any more.
    """
    if dist.is_initialized():
        dist.barrier()
        gc.collect()  # frees models that hold the group and keep gloo's threads
        dist.destroy_process_group()


def wrapper_for_cpu(cfg: Config, given: dict | None) -> dict:
    """The config of a model wrapper, with `CPUDataParallel` instead of DDP."""
    given = given or dict(
        broadcast_buffers=False,  # mmengine's default, like the next
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    if given.get('type', 'MMDistributedDataParallel') != 'MMDistributedDataParallel':
        return given
    return dict(given, type='mmpatchconvnet.CPUDataParallel')


@MODEL_WRAPPERS.register_module()
class CPUDataParallel(MMDistributedDataParallel):
    """mmengine's DDP for processes without a GPU; SyncBN becomes BN.

    Args:
        module: The model.
        device_ids: Given by mmengine to every wrapper; not used.
        **settings: The arguments of torch's `DistributedDataParallel`.
    """

    def __init__(
        self, module: nn.Module, device_ids: list[int] | None = None, **settings: Any
    ) -> None:
        super().__init__(without_sync_bn(module), **settings)


def without_sync_bn(model: nn.Module) -> nn.Module:
    """The model with BN instead of SyncBN, which does not train on a CPU."""
    if any(type(module).__name__ == 'SyncBatchNorm' for module in model.modules()):
        print_log(
            'No GPU: SyncBN layers become BN, with statistics per process.',
            logger='current',
        )
    return revert_sync_batchnorm(model)
