"""Sharded training (FSDP): each rank keeps a part of weights, gradients and moments.

mmengine's FSDPStrategy, with what it lacks on current torch: see `ShardedStrategy`.
`configs/_base_/fsdp.py` turns it on, and `docs/scaling.md` says when it pays.
"""

import os
from typing import Any

import torch
from mmengine._strategy import FSDPStrategy
from mmengine.device import get_device
from mmengine.dist import is_distributed, is_main_process
from mmengine.optim import BaseOptimWrapper, OptimWrapper
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel as FSDP
from torch.nn.utils import clip_grad_norm_

from mmpatchconvnet.checkpoints import CheckpointError
from mmpatchconvnet.engine.distributed import without_sync_bn
from mmpatchconvnet.models.patchconvnet import PatchConvBlock
from mmpatchconvnet.registry import FUNCTIONS, STRATEGIES

# Their step depends on the norm of a whole layer, of which a rank sees only a part.
LAYERWISE_OPTIMIZERS = ('LAMB', 'LARS')


@FUNCTIONS.register_module()
def wrap_each_block(module: nn.Module, recurse: bool, nonwrapped_numel: int) -> bool:
    """An auto-wrap policy of FSDP: every block of the column is a unit of its own.

    Stem, necks and heads stay together in the root unit.
    """
    return recurse or isinstance(module, PatchConvBlock)


@STRATEGIES.register_module()
class ShardedStrategy(FSDPStrategy):
    """mmengine's FSDPStrategy with the same arguments, mended where it goes wrong.

    - It runs without a GPU, on gloo.
    - Weight decay and learning rates by parameter (`paramwise_cfg`) follow the true
      shapes: a sharded parameter is flat, and `flat_decay_mult` would take every one
      of them for a bias.
    - `clip_grad` clips by the norm over all ranks, not by that of a rank's own part.
    - An optimizer that needs whole layers is refused.
    - Checkpoints hold whole state dicts unless told otherwise, and appear whole.
    - The optimizer's state can be loaded again: torch has changed the order of the
      arguments, and mmengine leaves out what `OptimWrapper` adds to it.

    Raises:
        ValueError: There is one process only, or the optimizer is LAMB or LARS.
    """

    model_wrapper: dict | None

    def __init__(self, *, state_dict_cfg: str | dict = 'full', **settings: Any) -> None:
        super().__init__(state_dict_cfg=state_dict_cfg, **settings)
        if not is_distributed():
            raise ValueError(
                'FSDP splits a model over processes, but there is one: start more with '
                'torchrun and --launcher pytorch, or drop strategy and runner_type.'
            )

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        if get_device() == 'cpu':
            model = without_sync_bn(model)
            device = torch.device('cpu')  # in the place of a GPU's number
            self.model_wrapper = dict(self.model_wrapper or {}, device_id=device)
            # To torch this means "copy"; without one, both moments share their memory.
            self.optim_state_dict_config.offload_to_cpu = False
        return super()._wrap_model(model)

    def build_optim_wrapper(
        self,
        optim_wrapper: dict | BaseOptimWrapper | torch.optim.Optimizer,
        model: Any = None,
    ) -> BaseOptimWrapper:
        """mmengine's, while the parameters have their true shapes."""
        with FSDP.summon_full_params(model, writeback=False):
            wrapper = super().build_optim_wrapper(optim_wrapper, model)
        if isinstance(wrapper, OptimWrapper):
            name = type(wrapper.optimizer).__name__
            if name.upper() in LAYERWISE_OPTIMIZERS:
                raise ValueError(
                    f'{name} needs the norm of whole layers, which FSDP splits: train '
                    'with DDP, that is without runner_type and strategy, or with AdamW.'
                )
            if getattr(wrapper, 'clip_func', None) is clip_grad_norm_:
                wrapper.clip_func = lambda params, **limits: model.clip_grad_norm_(
                    **limits
                )
        return wrapper

    def save_checkpoint(self, filename: str, **settings: Any) -> None:
        """mmengine's; a killed run leaves no torn file, but for remote ones."""
        if not self._is_full_state_dict() or '://' in filename:
            super().save_checkpoint(filename, **settings)
            return
        super().save_checkpoint(f'{filename}.partial', **settings)
        if is_main_process():
            os.replace(f'{filename}.partial', filename)

    def optim_state_dict(self) -> dict:
        """The state of the optimizer, and the loss scale and base rate beside it."""
        return super().optim_state_dict() | extra_optimizer_state(
            self.optim_wrapper.state_dict()
        )

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load what `optim_state_dict` gave.

        Raises:
            CheckpointError: It goes by numbers, as that of a run without FSDP.
        """
        if any(isinstance(key, int) for key in state_dict['state']):
            raise CheckpointError(
                'the checkpoint was written without FSDP, and its optimizer cannot be '
                'split: resume it without FSDP, or give it as load_from to start anew.'
            )
        shards = FSDP.optim_state_dict_to_load(
            model=self.model,
            optim=self.optim_wrapper.optimizer,
            optim_state_dict=state_dict,
        )
        self.optim_wrapper.load_state_dict(shards | extra_optimizer_state(state_dict))


def extra_optimizer_state(state_dict: dict) -> dict:
    """What mmengine's OptimWrapper adds to the state dict of torch's optimizer."""
    own = ('state', 'param_groups')
    return {key: value for key, value in state_dict.items() if key not in own}
