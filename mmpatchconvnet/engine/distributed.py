"""More than one process, with or without GPUs.

mmengine starts the group of processes itself, but only on GPUs: it sets a cuda device
for each process and wraps the model for it. Here is what a machine without one needs.
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

from mmpatchconvnet.engine.config_checks import ConfigError
from mmpatchconvnet.registry import MODEL_WRAPPERS

# The program that starts the processes, and where it leaves the rank, the number of
# processes and the rank within a machine.
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
    """Without a GPU, start the group on gloo and let the config wrap models for it.

    Raises:
        ConfigError: The processes were not started by the launcher the config names.
    """
    if cfg.get('launcher', 'none') == 'none':
        return
    program, *names = LAUNCHERS[cfg.launcher]
    without_gpu = get_device() == 'cpu'
    for name in (*names, 'MASTER_ADDR', 'MASTER_PORT') if without_gpu else names:
        if name not in os.environ:
            raise ConfigError(
                f'--launcher {cfg.launcher} finds no {name} in the environment: start '
                f'the processes with {program} and set what it does not, see '
                'docs/scaling.md, or leave it out.'
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


def end_processes() -> None:
    """Leave the group together; a process that exits within it may be aborted.

    Call it when no runner is in use any more.
    """
    if dist.is_initialized():
        dist.barrier()
        gc.collect()  # models that hold the group, or gloo's threads outlive it
        dist.destroy_process_group()


def wrapper_for_cpu(cfg: Config, given: dict | None) -> dict:
    """The config of a model wrapper, with `CPUDataParallel` in the place of DDP."""
    given = given or dict(
        broadcast_buffers=False,  # mmengine's choice, as is the next
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
        device_ids: What mmengine gives to every wrapper; of no use here.
        **settings: The arguments of torch's `DistributedDataParallel`.
    """

    def __init__(
        self, module: nn.Module, device_ids: list[int] | None = None, **settings: Any
    ) -> None:
        super().__init__(without_sync_bn(module), **settings)


def without_sync_bn(model: nn.Module) -> nn.Module:
    """The model with BN where it had SyncBN, which does not train on a CPU."""
    if any(type(module).__name__ == 'SyncBatchNorm' for module in model.modules()):
        print_log(
            'No GPU: SyncBN layers become BN, with statistics of one process each.',
            logger='current',
        )
    return revert_sync_batchnorm(model)
