"""Sharded training (FSDP): each rank keeps a part of weights, gradients and moments.

`ShardedStrategy` adds to mmengine's FSDPStrategy what it lacks on current torch.
`configs/_base_/fsdp.py` turns it on, and `docs/scaling.md` says when it pays off.
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
from mmpatchconvnet.models.transcnn_stage import TransCNNBlock
from mmpatchconvnet.registry import FUNCTIONS, STRATEGIES

# Their step needs the norm of a whole layer, but a rank holds only a part of it.
LAYERWISE_OPTIMIZERS = ('LAMB', 'LARS')


@FUNCTIONS.register_module()
def wrap_each_block(module: nn.Module, recurse: bool, nonwrapped_numel: int) -> bool:
    """Auto-wrap policy of FSDP: every block of our backbones is its own unit.

    Stem, steps between stages, necks and heads stay together in the root unit.
    """
    return recurse or isinstance(module, (PatchConvBlock, TransCNNBlock))


@STRATEGIES.register_module()
class ShardedStrategy(FSDPStrategy):
    """mmengine's FSDPStrategy with the same arguments and these fixes.

    - It runs without a GPU, on gloo.
    - Weight decay and learning rates by parameter (`paramwise_cfg`) follow the true
      shapes: a sharded parameter is flat, and `flat_decay_mult` would treat every one
      as a bias.
    - `clip_grad` clips by the norm over all ranks, not by the norm of one rank's part.
    - An optimizer that needs whole layers is an error.
    - Checkpoints hold whole state dicts by default, and a file is never truncated.
    - The optimizer's state can be loaded: torch has changed the order of the arguments,
      and mmengine omits what `OptimWrapper` adds to the state.

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
            device = torch.device('cpu')  # instead of the index of a GPU
            self.model_wrapper = dict(self.model_wrapper or {}, device_id=device)
            # With False torch copies the state; else both moments would share memory.
            self.optim_state_dict_config.offload_to_cpu = False
        return super()._wrap_model(model)

    def build_optim_wrapper(
        self,
        optim_wrapper: dict | BaseOptimWrapper | torch.optim.Optimizer,
        model: Any = None,
    ) -> BaseOptimWrapper:
        """Build mmengine's wrapper while the parameters have their true shapes."""
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
        """Save as mmengine does, but a killed run leaves no truncated local file."""
        if not self._is_full_state_dict() or '://' in filename:
            super().save_checkpoint(filename, **settings)
            return
        super().save_checkpoint(f'{filename}.partial', **settings)
        if is_main_process():
            os.replace(f'{filename}.partial', filename)

    def optim_state_dict(self) -> dict:
        """The state of the optimizer, with the loss scale and the base rate."""
        return super().optim_state_dict() | extra_optimizer_state(
            self.optim_wrapper.state_dict()
        )

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load a state that `optim_state_dict` returned.

        Raises:
            CheckpointError: Its keys are numbers, as in a run without FSDP.
        """
        if any(isinstance(key, int) for key in state_dict['state']):
            raise CheckpointError(
                'the checkpoint was written without FSDP, so its optimizer state '
                'cannot be split: resume it without FSDP, or give it as load_from to '
                'start a new run.'
            )
        shards = FSDP.optim_state_dict_to_load(
            model=self.model,
            optim=self.optim_wrapper.optimizer,
            optim_state_dict=state_dict,
        )
        self.optim_wrapper.load_state_dict(shards | extra_optimizer_state(state_dict))


def extra_optimizer_state(state_dict: dict) -> dict:
    """The entries that mmengine's OptimWrapper adds to the state of the optimizer."""
    own = ('state', 'param_groups')
    return {key: value for key, value in state_dict.items() if key not in own}
