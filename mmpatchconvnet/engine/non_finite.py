"""Where the values of a training step first stop being finite."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass
class Fault:
    """What is not finite in a step of one process: all finite if `place` is empty."""

    loss_is_finite: bool
    terms: dict[str, float]
    place: str = ''

    def __str__(self) -> str:
        what = 'gradient' if self.loss_is_finite else 'loss'
        terms = ', '.join(f'{name} {value:g}' for name, value in self.terms.items())
        place = self.place or 'although all is finite when the step is repeated'
        return f'the {what} is not finite ({terms}), {place}'


def find_fault(
    model: nn.Module, wrapper: OptimWrapper, data: Any, state: tuple, loss: Tensor
) -> Fault:
    """Repeat a step and find its first value that is not finite.

    All processes have to call it together: the result is that of the first one with a
    fault, and the same in all of them.

    Args:
        model: That of the runner, so wrapped in several processes.
        wrapper: Its gradients are those of the step.
        data: The batch from the data preprocessor.
        state: The `random_state` after the data preprocessor.
        loss: Of the step, a scalar.
    """
    fault = Fault(bool(loss.isfinite().all()), dict(loss=loss.item()))
    try:
        with torch.no_grad(), first_bad_output(model) as places:
            set_random_state(state)
            _, terms = forward(model, wrapper, data)
        fault.terms = {name: value.item() for name, value in terms.items()}
        fault.place = places[0] if places else ''
        if not all_finite(data):
            fault.place = 'first in the output of data_preprocessor'
    except Exception as error:  # such as memory: the step is bad in any case
        fault.place = f'and repeating the step fails ({error})'
    found = first_of_all(fault)
    if not found.place:
        name = bad_gradient(model, wrapper, data, state)
        fault.place = f'first in that of {name}' if name else ''
        found = first_of_all(fault)
    return found


def first_of_all(fault: Fault) -> Fault:
    """The fault of the first process that has one."""
    faults: list[Fault] = all_gather_object(fault)
    rank, first = min(
        enumerate(faults), key=lambda one: (not one[1].place, one[1].loss_is_finite)
    )
    if first.place and len(faults) > 1:
        first.place += f', on rank {rank}'
    return first


def forward(
    model: nn.Module, wrapper: OptimWrapper, data: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss and its terms, without DDP, which counts the forward passes."""
    inner: Any = model.module if is_model_wrapper(model) else model
    run: Any = inner if isinstance(model, DistributedDataParallel) else model
    with wrapper.optim_context(run):
        losses = run._run_forward(data, mode='loss')
    return inner.parse_losses(losses)


@contextmanager
def first_bad_output(model: nn.Module) -> Iterator[list[str]]:
    """Notes the modules whose output is not finite, in the order in which they run."""
    root: Any = model.module if is_model_wrapper(model) else model
    places: list[str] = []

    def note(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if all_finite(output):
            return
        kind = type(module).__name__
        place = f'first in the output of {name} ({kind})'
        if not name:
            place = 'although the outputs of all modules are'
        elif not all_finite(inputs):
            place += ', whose input is not finite either'
        places.append(place)

    def hook(name: str) -> Any:
        return lambda module, args, kwargs, output: note(
            name, module, (args, kwargs), output
        )

    handles = [
        module.register_forward_hook(hook(clean(name)), with_kwargs=True)
        for name, module in root.named_modules()
    ]
    try:
        yield places
    finally:
        for handle in handles:
            handle.remove()


def all_finite(values: Any) -> bool:
    """Whether all floating numbers in tensors, lists and dicts are finite."""
    if isinstance(values, Tensor):
        return bool(values.isfinite().all())
    if isinstance(values, dict):
        values = list(values.values())
    return not isinstance(values, (list, tuple)) or all(map(all_finite, values))


def bad_value(model: nn.Module) -> str:
    """The first parameter that is not finite or buffer that is NaN, or nothing."""
    for name, parameter in model.named_parameters():
        if not all_finite(parameter):
            return clean(name)
    for name, buffer in model.named_buffers():
        if buffer.isnan().any():  # masks hold infinity on purpose
            return clean(name)
    return ''


def bad_gradient(
    model: nn.Module, wrapper: OptimWrapper, data: Any, state: tuple
) -> str:
    """The parameter nearest to the loss whose gradient is not finite, or nothing.

    The backward pass is repeated, as clipping spreads NaN over all gradients. What FSDP
    shards, and what cannot be repeated, is taken as it is.
    """
    names, parameters = zip(
        *((name, p) for name, p in model.named_parameters() if p.requires_grad),
        strict=True,
    )
    gradients: Any = [p.grad for p in parameters]
    if isinstance(model, DistributedDataParallel) or not is_model_wrapper(model):
        try:
            set_random_state(state)
            loss, _ = forward(model, wrapper, data)
            # Unlike `backward`, without the hooks of DDP.
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        except Exception:  # such as memory: those of the step are there
            pass
    bad = [
        name
        for name, gradient in zip(names, gradients, strict=True)
        if not all_finite(gradient)
    ]
    return clean(bad[-1]) if bad else ''


def clean(name: str) -> str:
    """The name of a module or parameter without what wrappers add to it."""
    return name.removeprefix('module.').replace('_fsdp_wrapped_module.', '')


def random_state() -> tuple:
    """The state of the generators of this process."""
    device = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), device


def set_random_state(state: tuple) -> None:
    """Set the generators of this process to a `random_state`."""
    python, numpy, cpu, device = state
    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(cpu)
    if device is not None:
        torch.cuda.set_rng_state(device)
