"""Loading checkpoints strictly."""

import re
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from mmpatchconvnet.checkpoints.conversion import (
    CheckpointError,
    check_keys,
    tensors_of,
)
from mmpatchconvnet.checkpoints.data_only import load_checkpoint


def read_weights(path: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint: a file, a URL, or `deit://NAME` and its siblings.

    Raises:
        CheckpointError: There is no such file, more than data in it, or no tensors.
    """
    return tensors_of(load_checkpoint(path, map_location='cpu', logger='silent'))


def load_weights(
    model: nn.Module,
    path: str,
    prefix: str = '',
    optional: str | None = None,
    content: Any = None,
    fit: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None,
) -> None:
    """Load a checkpoint of this model; an unexpected or missing key is an error.

    Args:
        model: A model without its distributed wrapper.
        path: A file, a URL, or `deit://NAME`.
        prefix: Take only the keys that start with it, without it.
        optional: A pattern of keys that the checkpoint may hold and the model lacks.
        content: The content of the checkpoint, if it has been read already.
        fit: Returns the weights to load instead of those of the checkpoint.

    Raises:
        CheckpointError: There is no such file, or its keys or shapes are not the
            model's.
    """
    tensors = read_weights(path) if content is None else tensors_of(content)
    weights = {
        key.removeprefix(prefix): value
        for key, value in tensors.items()
        if key.startswith(prefix)
    }
    own = model.state_dict()
    if optional:
        weights = {
            key: value
            for key, value in weights.items()
            if key in own or not re.match(optional, key)
        }
    if fit:
        weights = fit(weights)
    part = f' under {prefix!r}' if prefix else ''
    subject = f'{path}{part} does not fit {type(model).__name__}'
    remedy = 'give the checkpoint and the config of one model'
    check_keys(weights.keys(), own.keys(), subject, remedy)
    for key, value in weights.items():
        if value.shape != own[key].shape:
            raise CheckpointError(
                f'{subject}: its {key} has shape {tuple(value.shape)}, not '
                f'{tuple(own[key].shape)}; {remedy}.'
            )
    model.load_state_dict(weights)


def check_start(model: nn.Module, path: str, resume: bool, content: Any = None) -> None:
    """Raise unless a training of this model can start from a checkpoint.

    To resume, all keys must be the model's; to start from its weights, as in
    fine-tuning with other classes, at least one tensor must fit.

    Args:
        model: A model without its distributed wrapper.
        path: A file, a URL, or `deit://NAME`.
        resume: Whether the training is resumed, with optimizer and schedule.
        content: The content of the checkpoint, if it has been read already.

    Raises:
        CheckpointError: The checkpoint does not fit or cannot be read.
    """
    weights = read_weights(path) if content is None else tensors_of(content)
    own = model.state_dict()
    name = type(model).__name__
    if resume:
        remedy = 'give a checkpoint of this config'
        check_keys(weights.keys(), own.keys(), f'{path} does not fit {name}', remedy)
    elif not any(k in own and own[k].shape == v.shape for k, v in weights.items()):
        raise CheckpointError(
            f'{path} has no tensor that fits {name}: give a checkpoint of a similar '
            'model in load_from, or leave it out.'
        )
