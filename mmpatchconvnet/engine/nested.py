"""Settings as nested dicts, lists and tuples: all of them, or without some keys."""

from collections.abc import Collection, Iterator
from typing import Any


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
