"""Check `--cfg-options`: a setting that would change nothing is an error.

mmengine writes any key into a config, even one that nothing reads: a misspelt name, or
a variable of the file, whose value was copied into other settings when it was parsed.
"""

import inspect
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import FlexibleRunner, Runner

from mmpatchconvnet.config_files import ConfigError, resolve_type
from mmpatchconvnet.nested import walk, without

# What each runner reads from the config, besides the arguments of its constructor.
LOOKED_UP = {
    Runner: {
        *('model_wrapper_cfg', 'find_unused_parameters', 'sync_bn', 'compile'),
        *('activation_checkpointing', 'efficient_conv_bn_eval'),
    },
    FlexibleRunner: {'init_weights_for_test_or_val'},
}
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
        ConfigError: Nothing reads a key, a part of it is neither in a dict nor in a
            list, or it is a part of another one.
    """
    settings = without(cfg.to_dict(), {'_scope_'})
    runner = find_runner(options.get('runner_type', cfg.get('runner_type')), cfg)
    read = keys_read_by(runner)
    model = settings.get('model')
    if isinstance(model, dict) and 'data_preprocessor' in model:
        read -= {'data_preprocessor'}  # the runner then takes that of the model
    known = list(walk({k: v for k, v in settings.items() if k in read}))
    for key in options:
        first, *rest = key.split('.')
        outer = next((one for one in options if key.startswith(f'{one}.')), None)
        if outer is not None:
            raise ConfigError(
                f'--cfg-options {key} is a part of {outer}, which is given too: give '
                'one of them.'
            )
        if first in INSTEAD:
            instead = f'give {INSTEAD[first]} instead'
        elif first in read:
            check_path(settings, key)
            continue
        elif uses := copies_of(first, settings.get(first), known):
            uses = ['.'.join((use, *rest)) for use in uses]
            instead = f'give {" or ".join(uses)} instead'
        elif reader := other_reader(first, runner):
            instead = f'only a {reader} reads it, so set runner_type={reader} as well'
        else:
            nearest = nearest_key(key, [path for path, _ in known])
            instead = (
                f'the nearest key is {nearest}'
                if nearest
                else 'the config has no setting that is read'
            )
        raise ConfigError(f'--cfg-options {key} would change nothing: {instead}.')


def find_runner(kind: str | type | None, cfg: Config) -> type:
    """The class behind a `runner_type`, which is `Runner` if nothing is set."""
    settings = dict(type=kind or 'Runner')
    runner = resolve_type(settings, cfg.get('default_scope'), RUNNERS)
    if runner is None:
        raise ConfigError(
            f'runner_type={kind} is not registered: give Runner or FlexibleRunner, or '
            'import the module of yours with custom_imports.'
        )
    return runner


def keys_read_by(runner: type) -> set[str]:
    """The top-level keys of a config that a runner, or what chooses it, reads."""
    keys = {'runner_type', *inspect.signature(runner).parameters}
    keys -= {'cfg', 'compile'}  # `FlexibleRunner.from_cfg` does not pass `compile` on
    for kind, looked_up in LOOKED_UP.items():
        if issubclass(runner, kind):
            keys |= looked_up
    return keys


def other_reader(key: str, runner: type) -> str | None:
    """The runner of mmengine that reads a key which this one does not."""
    for other in LOOKED_UP:
        if key in keys_read_by(other) - keys_read_by(runner):
            return other.__name__
    return None


def check_path(settings: Any, key: str) -> None:
    """A number must count within its list, and only dicts and lists hold settings.

    mmengine merges into a dict in a list; it cannot set an element.
    """
    path, node = 'the config', settings
    parts = key.split('.')
    for depth, part in enumerate(parts, 1):
        if isinstance(node, list):
            if not part.isdecimal() or int(part) >= len(node):
                raise ConfigError(
                    f'--cfg-options {key}: {path} is a list of {len(node)}, so give a '
                    f'number from 0 to {len(node) - 1} instead of {part}.'
                )
            node = node[int(part)]
            if depth == len(parts) or not isinstance(node, (dict, list)):
                raise ConfigError(
                    f'--cfg-options {key}: {path}.{part} is an element of a list, '
                    f'which cannot be set alone: set {path} as a whole.'
                )
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


def nearest_key(key: str, known: Sequence[str]) -> str | None:
    """The most similar key, if possible one with the same last part; None of none."""
    same = [path for path in known if path.split('.')[-1] == key.split('.')[-1]]
    return next(iter(get_close_matches(key, same or known, 1, cutoff=0)), None)
