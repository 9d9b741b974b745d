"""Whether a module computes what its type says and nothing else, so that it can fold.

A subclass, a `forward` of the instance, a hook or a replaced part may do anything.
"""

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

HOOKS = ('forward_pre_hooks', 'forward_hooks', 'backward_pre_hooks', 'backward_hooks')


def has_hooks(module: Any) -> bool:
    return any(getattr(module, f'_{name}') for name in HOOKS)


def is_plain_batch_norm(norm: Any) -> bool:
    """Whether it is a scale and a shift of each channel and nothing else."""
    return (
        isinstance(norm, _BatchNorm)
        and type(norm).forward in (_BatchNorm.forward, nn.SyncBatchNorm.forward)
        and norm.running_mean is not None
        and not norm.training
        and not has_hooks(norm)
    )


def difference(module: nn.Module, reference: nn.Module) -> str:
    """How a module differs from another that has no hooks; empty if in weights alone.

    Compared are the types of all parts, their settings as printed, and their hooks.
    """
    parts, expected = (dict(root.named_modules()) for root in (module, reference))
    for name in parts.keys() & expected.keys():
        part, other = parts[name], expected[name]
        if type(part) is not type(other) or 'forward' in vars(part):
            return f'{type(part).__name__} may compute otherwise'
        if part.extra_repr() != other.extra_repr():
            return f'{name} has other settings'
        if has_hooks(part):
            return 'hooks would be lost'
    return '' if parts.keys() == expected.keys() else 'other parts'
