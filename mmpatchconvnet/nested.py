"""Settings as nested dicts, lists and tuples: all of them, or without some keys."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np


def walk(node: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """Dotted path and value of every setting, dicts and lists included."""
    if isinstance(node, dict):
        pairs = list(node.items())
    elif isinstance(node, (list, tuple)):
        pairs = list(enumerate(node))
    else:
        return
    for key, value in pairs:
        inner = f'{path}.{key}' if path else str(key)
        yield inner, value
        yield from walk(value, inner)


def without(node: Any, keys: Collection[str]) -> Any:
    """The same settings without these keys, at any depth.

    Example:
        >>> without(dict(type='Flip', steps=[dict(a=1, b=2)]), {'type', 'a'})
        {'steps': [{'b': 2}]}
    """
    if isinstance(node, dict):
        return {k: without(v, keys) for k, v in node.items() if k not in keys}
    if isinstance(node, (list, tuple)):
        return type(node)(without(value, keys) for value in node)
    return node


def make_plain(node: Any) -> Any:
    """Turn values of NumPy and paths into those of Python; dicts are changed in place.

    A config with `np.unique(names)` could not be read again once it is written.

    Example:
        >>> make_plain(dict(classes=tuple(np.unique(['b', 'a'])), file=Path('x.json')))
        {'classes': ('a', 'b'), 'file': 'x.json'}
    """
    if isinstance(node, dict):
        for key, value in node.items():
            plain = make_plain(value)
            if plain is not value:
                node[key] = plain
    elif isinstance(node, (list, tuple)):
        parts = [make_plain(value) for value in node]
        if any(new is not old for new, old in zip(parts, node, strict=True)):
            return type(node)(parts)
    elif isinstance(node, (np.generic, np.ndarray)):
        return node.tolist()
    elif isinstance(node, Path):
        return str(node)
    return node
