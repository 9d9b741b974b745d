"""No training step from a loss or gradient that is not finite, no such checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import CheckpointHook, Hook
from mmengine.optim import AmpOptimWrapper, ApexOptimWrapper, OptimWrapper
from mmengine.runner import FlexibleRunner, Runner
from torch import Tensor

from mmpatchconvnet.engine.non_finite import find_fault, random_state


class BadStepError(ValueError):
    """A training that would go on with NaN or infinity, in one sentence."""


class NotFinite(Exception):
    """Leaves a step of the optimizer before it changes a weight."""


class FiniteStepsHook(Hook):
    """Ends a training, or skips a step, where the loss or gradient is not finite.

    A skipped step changes no weight and no buffer, such as the statistics of BN, and
    its loss is not logged; the schedule goes on. All processes skip or stop together.
    With mixed precision, an infinite gradient is the matter of the loss scaler.

    Also refuses to save weights that are not finite.

    Args:
        skip_bad_steps: How many steps are skipped before the training ends.

    Raises:
        BadStepError: In a step, or before a checkpoint is written.
    """

    priority = 'HIGHEST'  # before the loss is logged

    def __init__(self, skip_bad_steps: int = 0) -> None:
        self.max_skipped, self.skipped = skip_bad_steps, 0
        self.buffers: list[Tensor] = []

    def before_train(self, runner: Runner | FlexibleRunner) -> None:
        self.runner: Any = runner
        wrapper: Any = runner.optim_wrapper
        for one in getattr(wrapper, 'optim_wrappers', {'': wrapper}).values():
            if isinstance(one, OptimWrapper):
                StepGuard(one, self.handle)
        if self.max_skipped:
            self.buffers = list(self.runner.model.buffers())
            self.saved = [buffer.clone() for buffer in self.buffers]

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        self.batch, self.state, self.bad = data_batch, random_state(), False
        if self.buffers:
            torch._foreach_copy_(self.saved, self.buffers)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        if self.bad and outputs is not None:
            outputs.clear()  # else the means in the log are NaN for many steps

    def handle(self, wrapper: OptimWrapper, loss: Tensor) -> None:
        """Skip a step, or raise."""
        step = self.runner.iter + 1
        fault = find_fault(self.runner.model, wrapper, self.batch, self.state, loss)
        if self.skipped >= self.max_skipped:
            before = f' after {self.skipped} skipped steps' if self.skipped else ''
            raise BadStepError(
                f'training stopped at iteration {step}{before}: {fault}; lower the '
                'learning rate, correct the data, or skip such steps with '
                f'--skip-bad-steps N; {self.last_checkpoint()}.'
            )
        self.bad = True
        self.skipped += 1
        if self.buffers:
            torch._foreach_copy_(self.buffers, self.saved)
        self.runner.logger.warning(
            f'iteration {step} is skipped, {self.skipped} of at most '
            f'{self.max_skipped}: {fault}.'
        )

    def last_checkpoint(self) -> str:
        """The newest checkpoint of the run, in words."""
        hooks = [hook for hook in self.runner.hooks if isinstance(hook, CheckpointHook)]
        path = next((hook.last_ckpt for hook in hooks if hook.last_ckpt), None)
        if path is None and self.runner._resume:
            path = self.runner._load_from
        if path is None:
            return f'no checkpoint had been saved in {self.runner.work_dir}'
        return f'the last checkpoint is {path}, from which --resume continues'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        named = runner.model.named_parameters()
        parameters = {name.removeprefix('module.') for name, _ in named}
        for part in ('state_dict', 'ema_state_dict'):
            for name, value in checkpoint.get(part, {}).items():
                if not torch.is_floating_point(value):
                    continue
                # A buffer may hold infinity on purpose, as masks do.
                trained = name.removeprefix('module.') in parameters
                bad = ~value.isfinite() if trained else value.isnan()
                if bad.any():
                    raise BadStepError(
                        f'the weights are not saved, as {name} is not finite after '
                        f'iteration {checkpoint["meta"]["iter"]}: lower the learning '
                        f'rate; {self.last_checkpoint()}.'
                    )


class StepGuard:
    """Checks each step of an optimizer before it changes a weight.

    The loss is added to the largest gradient, or to the norm that clipping computes, so
    that a GPU is waited for once. Where gradients are accumulated, a bad loss is left
    out before its backward pass; a bad last one drops those of all its batches.

    Args:
        wrapper: Its `update_params` and `clip_func` are wrapped.
        handle: Called with the wrapper and the loss of a bad step, in all processes.
    """

    def __init__(
        self, wrapper: OptimWrapper, handle: Callable[[OptimWrapper, Tensor], None]
    ) -> None:
        self.wrapper, self.handle = wrapper, handle
        self.scaled = isinstance(wrapper, (AmpOptimWrapper, ApexOptimWrapper))
        self.inner_update = wrapper.update_params
        wrapper.update_params = self.update_params  # type: ignore[method-assign]
        if not self.scaled:
            wrapper.optimizer.register_step_pre_hook(self.before_step)
            if getattr(wrapper, 'grad_name', '') == 'grad_norm':
                self.inner_clip, wrapper.clip_func = wrapper.clip_func, self.clip

    def update_params(
        self,
        loss: Tensor,
        step_kwargs: dict | None = None,
        zero_kwargs: dict | None = None,
    ) -> None:
        """Do what the wrapper does, unless the step is bad."""
        wrapper = self.wrapper
        self.loss, self.norm = loss.detach(), None
        if self.scaled or not wrapper.should_sync():
            bad = self.is_bad(self.loss)
            if bad:
                self.handle(wrapper, self.loss)
                wrapper._inner_count += 1
        else:
            bad = False
        if not bad:
            try:
                self.inner_update(loss, step_kwargs, zero_kwargs)
                return
            except NotFinite:
                self.handle(wrapper, self.loss)
        if wrapper.should_update():
            wrapper.zero_grad(**zero_kwargs or {})

    def clip(self, *args: Any, **kwargs: Any) -> Tensor:
        self.norm = self.inner_clip(*args, **kwargs)
        return self.norm

    def before_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        norm = largest(optimizer) if self.norm is None else self.norm
        if self.is_bad(self.loss + norm):
            raise NotFinite

    @staticmethod
    def is_bad(value: Tensor) -> bool:
        """Whether a value is not finite in any process."""
        bad = (~value.isfinite().all()).float()
        all_reduce(bad, 'max')
        return bool(bad.item())


def largest(optimizer: torch.optim.Optimizer) -> Tensor | float:
    """The largest absolute value of all gradients; NaN if one of them is."""
    parameters = (p for group in optimizer.param_groups for p in group['params'])
    gradients = [p.grad for p in parameters if p.grad is not None]
    dense = [g.coalesce().values() if g.is_sparse else g for g in gradients]
    if not dense:
        return 0.0
    norms = torch._foreach_norm(dense, float('inf'))
    return torch.stack([norm.to(norms[0]) for norm in norms]).max()
