"""Configs inside checkpoints: text that mmengine runs as Python code.

It does so when it resumes, and when an inferencer is given weights without a config.
What mmengine itself writes there is settings only: plain values under names. Only these
values are kept, as the rest of a text can turn into code: mmengine replaces `{{...}}`.

Some settings name what to build. A registry that does not know a name imports it, be it
`subprocess.Popen`, so those names must be of the hosts' registries.
"""

import ast
import logging
import re
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from mmengine.logging import print_log

PLACES = (('meta', 'config'), ('meta', 'cfg'), ('message_hub', 'runtime_info', 'cfg'))
NUMPY_SCALARS = {np.dtype(code).type.__name__ for code in np.typecodes['All']}
# mmcv is not one of them: it has no registry, so `mmcv.X` is always imported, even
# `mmcv.convert_video`, which runs a shell command.
SCOPES = ('mmengine', 'mmpretrain', 'mmdet', 'mmseg', 'mmpatchconvnet')
OUR_IMPORTS = tuple(
    dict(imports=['mmpatchconvnet'], **more)
    for more in ({}, dict(allow_failed_imports=False))
)


def keep_settings(checkpoint: Any, path: str) -> None:
    """Reduce the configs in a checkpoint to their settings, in place.

    A config that holds anything else is removed: the weights can be used without it.
    """
    for *folders, name in PLACES:
        holder = checkpoint
        for folder in folders:
            holder = holder.get(folder) if isinstance(holder, Mapping) else None
        if not isinstance(holder, dict) or name not in holder:
            continue
        try:
            holder[name] = plain_text(holder[name])
        except (TypeError, ValueError, SyntaxError, RecursionError, MemoryError) as e:
            del holder[name]
            print_log(
                f'The config in {path}, under {".".join((*folders, name))}, is ignored '
                f'because it could run code ({e}): give the config as a file.',
                logger='current',
                level=logging.WARNING,
            )


def plain_text(text: str) -> str:
    """The settings of a config as text again, one `NAME = VALUE` a line.

    Raises:
        ValueError, TypeError, SyntaxError, RecursionError, MemoryError: The text is
            not Python, holds more than settings, or names code outside the registries.

    Example:
        >>> plain_text("model = dict(type='A', sizes=[1, -2])  # tiny")
        "model = {'type': 'A', 'sizes': [1, -2]}\\n"
    """
    settings = {}
    for line in ast.parse(text).body:
        match line:
            # A base is a file that would be run.
            case ast.Assign(targets=[ast.Name(id=name)]) if name != '_base_':
                settings[name] = value_of(line.value)
            case _:
                raise ValueError(f'line {line.lineno} is not a setting')
    check_names(settings)
    plain = ''.join(f'{name} = {value!r}\n' for name, value in settings.items())
    if '{{' in plain:
        raise ValueError('it contains {{, which mmengine replaces')
    return plain


def value_of(node: ast.expr | None) -> Any:
    """The value of an expression of literals and `dict(NAME=VALUE)` alone.

    A scalar of NumPy and a path become the number or text in them.

    Example:
        >>> value_of(ast.parse("[np.str_('leaf'), np.float64(0.5)]").body[0].value)
        ['leaf', 0.5]
    """
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Attribute(value=ast.Name(id='np'), attr='True_' | 'False_' as name):
            return name == 'True_'
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)):
            return -value  # type: ignore[operator]
        case ast.List(elts=parts):
            return [value_of(part) for part in parts]
        case ast.Tuple(elts=parts):
            return tuple(value_of(part) for part in parts)
        case ast.Dict(keys=keys, values=parts):
            return {value_of(k): value_of(v) for k, v in zip(keys, parts, strict=True)}
        case ast.Call(func=ast.Name(id='dict'), args=[], keywords=parts) if all(
            part.arg for part in parts
        ):
            return {part.arg: value_of(part.value) for part in parts}
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id='np'), attr=kind)
            | ast.Name(id='PosixPath' | 'WindowsPath' as kind),
            args=[ast.expr() as part],
            keywords=[],
        ) if kind.endswith('Path') or kind in NUMPY_SCALARS:
            return value_of(part)
    where = f'line {node.lineno}' if node else 'a `**`'
    raise ValueError(f'{where} holds more than plain values')


def check_names(value: Any, key: Any = None) -> None:
    """Raise a ValueError if a setting, at any depth, names code from elsewhere."""
    if key == 'custom_imports':
        allowed = not value or value in OUR_IMPORTS
    elif key in ('_scope_', 'default_scope'):
        allowed = value is None or value in SCOPES
    elif key in ('type', 'constructor', 'runner_type') and isinstance(value, str):
        allowed = is_type_name(value)
    elif key == 'trust_remote_code':  # of transformers
        allowed = not value
    else:
        allowed = True
    if not allowed:
        raise ValueError(f'{key}={value!r} names code outside the registries')
    if isinstance(value, dict):
        for name, part in value.items():
            check_names(part, name)
    elif isinstance(value, list | tuple):
        for part in value:
            check_names(part, key)


def is_type_name(name: str) -> bool:
    """Whether only a registry of mmengine can know a name, `Name` or `scope.Name`.

    That excludes `os`, a module, `mmengine.dump`, a function at the top of a package,
    and `torchvision/ToTensor`: mmpretrain evaluates arguments of such types as code.

    Example:
        >>> [is_type_name(name) for name in ('mmdet.ResNet', 'os', 'mmengine.dump')]
        [True, False, False]
    """
    scope, _, last = name.rpartition('.')
    if not re.fullmatch(r'[A-Za-z]\w*', last, re.ASCII):
        return False
    if not scope:
        return find_spec(last) is None
    if scope not in SCOPES:
        return False
    return find_spec(scope) is None or last not in vars(import_module(scope))
