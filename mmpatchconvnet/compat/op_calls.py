"""Which of mmcv's ops a model calls, found in the code of its classes.

An op that is missing is then an error when a model is built, not at some step.
"""

import dis
import inspect
import sys
from collections.abc import Iterable, Iterator
from functools import cache, wraps
from itertools import pairwise
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from mmengine.registry import Registry
from torch import nn

from mmpatchconvnet.compat import ops

# mmengine's registries of what runs in a model: modules; samplers, assigners, ...
PARTS = ('model', 'task util')
# Texts in the code of functions that do something else on a CPU, besides `is_cuda`.
DEVICES = {'cuda', 'cpu'}


def check_built_models() -> None:
    """From now on, refuse to build a model that calls an op which is missing."""
    build = Registry.build

    @wraps(build)
    def build_and_check(self: Registry, cfg: dict, *args: Any, **kwargs: Any) -> Any:
        built = build(self, cfg, *args, **kwargs)
        if self.name in PARTS:
            check_ops(kinds_in(built))
        return built

    Registry.build = build_and_check


def kinds_in(built: object) -> set[type]:
    """The classes of all modules of a module; the class of anything else."""
    if isinstance(built, nn.Module):
        return {type(module) for module in built.modules()}
    return {type(built)}


def check_ops(kinds: Iterable[type]) -> None:
    """Raise an error if one of these classes calls an op that is missing.

    An op that a user has set in `mmcv._ext` is not missing.

    Raises:
        ops.MissingOpError: It names the op, the class, the device and the remedy.
    """
    on_gpu = torch.cuda.is_available()
    provided = vars(sys.modules['mmcv._ext']).keys()
    for kind in sorted(kinds, key=lambda kind: kind.__name__):
        for name in sorted(ops_called(kind, on_gpu) - provided):
            device = 'a GPU' if on_gpu else 'a CPU'
            raise ops.MissingOpError(
                name, f', which {kind.__name__} calls on {device},'
            )


@cache
def ops_called(kind: type, on_gpu: bool) -> frozenset[str]:
    """Names of the functions of `mmcv._ext` that the methods of a class call.

    Functions between them are followed. Other modules are not: a class that can build
    one need not do so, and if it does, it is a class of the model too.

    Args:
        kind: A class of a model, or one from the code of `mmcv.ops`.
        on_gpu: If False, functions that ask for the device are left out: without a GPU
            they take another way.
    """
    roots = {root_of(base) for base in kind.__mro__} - {'torch', 'builtins'} | {'mmcv'}
    waiting, seen, found = methods_of(kind), set(), set()
    while waiting:
        function = waiting.pop()
        if function in seen or root_of(function) not in roots:
            continue
        seen.add(function)
        for value, attribute in globals_in(function, on_gpu):
            if value is sys.modules['mmcv._ext']:
                found.add(attribute)
                continue
            if attribute and isinstance(value, ModuleType | type):
                if root_of(value) not in roots:
                    continue
                if isinstance(value, ModuleType):  # asked, it may import something
                    value = vars(value).get(attribute)
                else:
                    value = getattr(value, attribute, None)
            waiting += functions_of(value)
    return frozenset(found)


def globals_in(function: FunctionType, on_gpu: bool) -> Iterator[tuple[Any, str]]:
    """Each global that a function reads, and the attribute it takes of it or ''."""
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        codes += [value for value in code.co_consts if isinstance(value, CodeType)]
        texts = {text for text in code.co_consts if isinstance(text, str)}
        if not on_gpu and ('is_cuda' in code.co_names or DEVICES & texts):
            continue
        for this, following in pairwise(dis.get_instructions(code)):
            if this.opname == 'LOAD_GLOBAL' and this.argval in function.__globals__:
                takes = following.opname in ('LOAD_ATTR', 'LOAD_METHOD')
                attribute = following.argval if takes else ''
                yield function.__globals__[this.argval], attribute


def functions_of(value: Any) -> list[FunctionType]:
    """A function, or the methods of an autograd function; [] for anything else."""
    # `apply` of an autograd function, which older torch writes in Python.
    owner = getattr(value, '__self__', value)
    if isinstance(owner, type) and issubclass(owner, torch.autograd.Function):
        return methods_of(owner)
    if isinstance(value, MethodType):  # of a class
        value = value.__func__
    return [inspect.unwrap(value)] if isinstance(value, FunctionType) else []


def methods_of(kind: type) -> list[FunctionType]:
    """The methods of a class and its bases, static ones and properties included."""
    members = [member for base in kind.__mro__ for member in vars(base).values()]
    plain = [
        member.fget
        if isinstance(member, property)
        else getattr(member, '__func__', member)
        for member in members
    ]
    return [
        inspect.unwrap(member) for member in plain if isinstance(member, FunctionType)
    ]


def root_of(thing: ModuleType | type | FunctionType) -> str:
    """The package of a module, class or function; '' for code from `exec`."""
    name = thing.__name__ if isinstance(thing, ModuleType) else thing.__module__
    return (name or '').partition('.')[0]
