"""Check `--cfg-options`: a setting that would change nothing is an error.

mmengine writes any key into a config, even one that nothing reads: a misspelt name, or
a variable of the file, whose value was copied into other settings when it was parsed.
"""

import inspect
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from mmengine.config import Config
from mmengine.runner import FlexibleRunner, Runner

from mmpatchconvnet.engine.config_checks import ConfigError

# Top-level keys that are read: arguments of the runners, and keys that they look up.
READ_KEYS = {
    *inspect.signature(Runner).parameters,
    *inspect.signature(FlexibleRunner).parameters,
    *('runner_type', 'model_wrapper_cfg', 'find_unused_parameters', 'sync_bn'),
    *('compile', 'activation_checkpointing', 'efficient_conv_bn_eval'),
    'init_weights_for_test_or_val',
} - {'cfg'}
# Keys that are set in another way.
INSTEAD = {
    'data_root': '--data-root PATH',
    'launcher': '--launcher NAME',
    'seed': 'randomness.seed',
}


def check_options(cfg: Config, options: dict[str, Any]) -> None:
    """Check the dotted keys of `--cfg-options` before they are merged into a config.

    Below the top level a key may be new: the class that is built from it checks its
    arguments.

    Raises:
        ConfigError: Nothing reads a key, or a part of it is neither in a dict nor in a
            list.
    """
    settings = without_scopes(cfg.to_dict())
    read = READ_KEYS
    if 'data_preprocessor' in (settings.get('model') or {}):
        read = READ_KEYS - {'data_preprocessor'}  # the runner uses the model's
    known = list(walk({k: v for k, v in settings.items() if k in read}))
    for key in options:
        first, *rest = key.split('.')
        if first in INSTEAD:
            instead = f'give {INSTEAD[first]} instead'
        elif first in read:
            check_path(settings, key)
            continue
        elif first in settings:
            uses = copies_of(first, settings[first], known) or ['the setting it is for']
            uses = ['.'.join((use, *rest)) for use in uses]
            instead = f'give {" or ".join(uses)} instead'
        else:
            instead = (
                f'the nearest key is {nearest_key(key, [path for path, _ in known])}'
            )
        raise ConfigError(f'--cfg-options {key} would change nothing: {instead}.')


def check_path(settings: Any, key: str) -> None:
    """Raise if an index is out of range, or if a value holds no settings."""
    path, node = 'the config', settings
    for part in key.split('.'):
        if isinstance(node, list):
            if not part.isdigit() or int(part) >= len(node):
                raise ConfigError(
                    f'--cfg-options {key}: {path} is a list of {len(node)}, so give a '
                    f'number from 0 to {len(node) - 1} instead of {part}.'
                )
            node = node[int(part)]
        elif isinstance(node, dict):
            if part not in node:
                return
            node = node[part]
        else:
            raise ConfigError(
                f'--cfg-options {key}: {path} is {node!r}, which has no {part}: set '
                f'{path} as a whole.'
            )
        path = part if path == 'the config' else f'{path}.{part}'


def copies_of(variable: str, value: Any, known: Sequence[tuple[str, Any]]) -> list[str]:
    """Up to three settings with the value and a part of the name of a variable."""
    return [
        path
        for path, other in known
        if other == value and variable.endswith(path.split('.')[-1])
    ][:3]


def nearest_key(key: str, known: Sequence[str]) -> str:
    """The most similar key, if possible one with the same last part."""
    same = [path for path in known if path.split('.')[-1] == key.split('.')[-1]]
    return get_close_matches(key, same or known, 1, cutoff=0)[0]


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


def without_scopes(node: Any) -> Any:
    """The same settings without the `_scope_` that inheritance adds."""
    if isinstance(node, dict):
        return {k: without_scopes(v) for k, v in node.items() if k != '_scope_'}
    if isinstance(node, (list, tuple)):
        return type(node)(without_scopes(value) for value in node)
    return node
