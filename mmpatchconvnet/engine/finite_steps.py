"""No training step from a loss or gradient that is not finite, no such checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper, ApexOptimWrapper, OptimWrapper
from mmengine.runner import FlexibleRunner, Runner
from torch import Tensor, nn

from mmpatchconvnet.engine.non_finite import bad_value, find_fault, random_state


class BadStepError(ValueError):
    """A training that would go on with NaN or infinity, in one sentence."""


class NotFinite(Exception):
    """Leaves a step of the optimizer before it changes a weight."""


class FiniteStepsHook(Hook):
    """Ends a training, or skips a step, where the loss or gradient is not finite.

    A skipped step changes no weight and no buffer, such as the statistics of BN, and
    its loss is not logged; the schedule goes on. All processes skip or stop together.
    With mixed precision, the loss scaler leaves out steps with an infinite gradient;
    these are not counted, unless its scale has fallen below 1.

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
        self.data: Any = None  # of the step, from the data preprocessor
        self.state: Any = None  # of the generators then

    def before_train(self, runner: Runner | FlexibleRunner) -> None:
        self.runner: Any = runner
        model: Any = getattr(runner.model, 'module', runner.model)
        if isinstance(model, BaseModel):
            model.data_preprocessor.register_forward_hook(self.keep_data)
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
        self.bad = False
        if self.buffers:
            torch._foreach_copy_(self.saved, self.buffers)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        self.data = self.state = None  # frees the batch
        if self.bad and outputs is not None:
            outputs.clear()  # else the means in the log are NaN for many steps

    def keep_data(self, module: nn.Module, inputs: Any, output: Any) -> None:
        # The batch cannot be processed twice, as mmseg pads its label maps in place.
        self.data, self.state = output, random_state()

    def handle(self, wrapper: OptimWrapper, loss: Tensor) -> None:
        """Skip a step, or raise."""
        step = self.runner.iter + 1
        fault = find_fault(self.runner.model, wrapper, self.data, self.state, loss)
        if self.skipped >= self.max_skipped:
            skipped = f'{self.skipped} skipped step{"s" * (self.skipped > 1)}'
            before = f' after {skipped}' if self.skipped else ''
            raise BadStepError(
                f'training stopped at iteration {step}{before}: {fault}; lower the '
                'learning rate, correct the data, or skip such steps with '
                f'--skip-bad-steps N; {last_checkpoint(self.runner.work_dir)}.'
            )
        self.bad = True
        self.skipped += 1
        if self.buffers:
            torch._foreach_copy_(self.buffers, self.saved)
        self.runner.logger.warning(
            f'iteration {step} is skipped, {self.skipped} of at most '
            f'{self.max_skipped}: {fault}.'
        )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        # By the first process alone, as for best_*.
        refuse(runner, bad_value(runner.model), checkpoint['meta']['iter'])


def check_weights(runner: Runner | FlexibleRunner, iteration: int) -> None:
    """Check that the weights can be saved; all processes have to call it together.

    Raises:
        BadStepError: A parameter is not finite, or a buffer is NaN.
    """
    names = all_gather_object(bad_value(runner.model))
    refuse(runner, next(filter(None, names), ''), iteration)


def refuse(runner: Runner | FlexibleRunner, name: str, iteration: int) -> None:
    """Raise if there is a name."""
    if name:
        raise BadStepError(
            f'the weights are not saved, as {name} is not finite after iteration '
            f'{iteration}: lower the learning rate; {last_checkpoint(runner.work_dir)}.'
        )


def last_checkpoint(work_dir: str) -> str:
    """What `--resume` would continue from, in words."""
    pointer = Path(work_dir, 'last_checkpoint')
    if not pointer.is_file():
        return f'{work_dir} has no checkpoint yet'
    path = pointer.read_text(errors='replace').strip()
    return f'the last checkpoint is {path}, from which --resume continues'


class StepGuard:
    """Checks each step of an optimizer before it changes a weight.

    The loss is added to the largest norm of a gradient, or to the norm that clipping
    computes, so that a GPU is waited for once. Where gradients are accumulated, a bad
    loss is left out before its backward pass; a bad last one drops the whole sum.

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
        wrapper.update_params = self.update_params
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
        self.loss, self.checked = loss.detach(), False
        self.left_out: Any = True  # the step, by the loss scaler
        early = self.scaled or not wrapper.should_sync()
        if early and self.is_bad(self.loss):
            wrapper._inner_count += 1
        else:
            try:
                self.inner_update(loss, step_kwargs, zero_kwargs)
            except NotFinite:
                pass
            else:
                if self.scales_in_vain():
                    self.handle(wrapper, self.loss)
                return
        self.handle(wrapper, self.loss)
        if wrapper.should_update():
            wrapper.zero_grad(**zero_kwargs or {})

    def scales_in_vain(self) -> bool:
        """Whether the loss scaler leaves out steps for which no scale is the reason."""
        scaler: Any = getattr(self.wrapper, 'loss_scaler', None)
        left_out = self.wrapper.should_update() and bool(self.left_out)
        return scaler is not None and left_out and scaler.get_scale() < 1

    def clip(self, *args: Any, **kwargs: Any) -> Tensor:
        norm = self.inner_clip(*args, **kwargs)
        if not self.scaled:
            self.check(norm)  # before mmengine logs it
        return norm

    def before_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        # A fused optimizer is called in any case and leaves the step out by itself.
        self.left_out = getattr(optimizer, 'found_inf', False)
        if not self.scaled and not self.checked:
            self.check(largest_norm(optimizer))

    def check(self, norm: Tensor | float) -> None:
        self.checked = True
        if self.is_bad(self.loss + norm):
            raise NotFinite

    @staticmethod
    def is_bad(value: Tensor) -> bool:
        """Whether a value is not finite in any process."""
        bad = (~value.isfinite().all()).float()
        all_reduce(bad, 'max')
        return bool(bad.item())


def largest_norm(optimizer: torch.optim.Optimizer) -> Tensor | float:
    """The largest norm of a gradient; NaN or infinity if one has such a value.

    Norm 2, as on a CPU torch computes it 8 times as fast as the largest value. It also
    overflows at values of 1e19, from which no step helps.
    """
    parameters = (p for group in optimizer.param_groups for p in group['params'])
    gradients = [p.grad for p in parameters if p.grad is not None]
    dense = [g.coalesce().values() if g.is_sparse else g for g in gradients]
    if not dense:
        return 0.0
    norms = torch._foreach_norm(dense)
    return torch.stack([norm.to(norms[0]) for norm in norms]).max()
