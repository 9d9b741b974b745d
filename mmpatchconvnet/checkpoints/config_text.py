"""Configs within checkpoints: text that mmengine runs as Python code.

It does so when it resumes, and when an inferencer is given weights without a config.
What mmengine itself writes there is settings only: plain values under names.
"""

import ast
import logging
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log

PLACES = (('meta', 'config'), ('meta', 'cfg'), ('message_hub', 'runtime_info', 'cfg'))


def drop_code(checkpoint: Any, path: str) -> None:
    """Remove configs that hold more than settings from a checkpoint, in place."""
    for *folders, name in PLACES:
        holder = checkpoint
        for folder in folders:
            holder = holder.get(folder) if isinstance(holder, Mapping) else None
        if isinstance(holder, dict) and name in holder and not is_plain(holder[name]):
            del holder[name]
            print_log(
                f'The config in {path}, under {".".join((*folders, name))}, holds more '
                'than settings: it is left out.',
                logger='current',
                level=logging.WARNING,
            )


def is_plain(text: Any) -> bool:
    """Whether the text of a config only gives names to plain values.

    Example:
        >>> is_plain("model = dict(type='A', sizes=[1, -2])")
        True
        >>> is_plain("model = open('file')")
        False
    """
    try:
        return all(is_setting(line) for line in ast.parse(text).body)
    except (TypeError, ValueError, SyntaxError, RecursionError, MemoryError):
        return False


def is_setting(line: ast.stmt) -> bool:
    """Whether a line of code is `NAME = VALUE`; a base is a file that would be run."""
    return (
        isinstance(line, ast.Assign)
        and all(
            isinstance(target, ast.Name) and target.id not in ('dict', '_base_')
            for target in line.targets
        )
        and is_value(line.value)
    )


def is_value(node: ast.expr | None) -> bool:
    """Whether an expression is made of literals and `dict(NAME=VALUE)` alone."""
    match node:
        case ast.Constant() | ast.UnaryOp(op=ast.USub(), operand=ast.Constant()):
            return True
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            return all(is_value(part) for part in parts)
        case ast.Dict(keys=keys, values=values):
            return all(is_value(part) for part in (*keys, *values))
        case ast.Call(func=ast.Name(id='dict'), args=[], keywords=keywords):
            return all(is_value(keyword.value) for keyword in keywords)
    return False
