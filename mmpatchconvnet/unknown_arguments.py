"""Arguments and types of a config that nothing takes, in one sentence.

Only the class that is built from a part of a config knows its arguments, so its own
error is explained, not foreseen.
"""

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import mmengine.registry
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import Registry
from mmengine.runner import (
    EpochBasedTrainLoop,
    IterBasedTrainLoop,
    LogProcessor,
    Runner,
    TestLoop,
    ValLoop,
)
from torch.utils.data import DataLoader

from mmpatchconvnet.config_files import ConfigError
from mmpatchconvnet.nested import walk

REFUSED = re.compile(r"([\w.]+)\(\) got an unexpected keyword argument '(\w+)'")
UNREGISTERED = re.compile(r'(\S+) is not in the (\S+)::(.+?) registry')
ROOTS = [one for one in vars(mmengine.registry).values() if isinstance(one, Registry)]
# What takes the settings of parts that need no type.
WITHOUT_TYPE: dict[str, tuple[Any, ...]] = {
    'train_cfg': (IterBasedTrainLoop, EpochBasedTrainLoop),
    'val_cfg': (ValLoop,),
    'test_cfg': (TestLoop,),
    'train_dataloader': (DataLoader,),
    'val_dataloader': (DataLoader,),
    'test_dataloader': (DataLoader,),
    'optim_wrapper': (OptimWrapper,),
    'log_processor': (LogProcessor,),
    'randomness': (Runner.set_randomness,),
    'data_preprocessor': ('ClsDataPreprocessor',),  # of mmpretrain
    'model.data_preprocessor': ('ClsDataPreprocessor',),
}


@contextmanager
def explain_arguments(cfg: Config) -> Iterator[None]:
    """Explain why a part of a config cannot be built.

    Raises:
        ConfigError: An argument that the part does not take, or a type that is not
            registered. An error that the config does not account for stays as it is.
    """
    settings = cfg.to_dict()  # hosts take settings out of a config that they build
    try:
        yield
    except (TypeError, KeyError) as error:
        text = str(error)
        # mmengine calls an optimizer without asking whether it is registered.
        if text == 'None is not a callable object' and settings.get('optim_wrapper'):
            kind = settings['optim_wrapper'].get('optimizer', {}).get('type')
            text = f'{kind} is not in the mmengine::optimizer registry'
        if 'Cannot find None in registry' in text:  # mmcv has lost the name of a layer
            kind, scope = layer_without_class(settings), settings.get('default_scope')
            text = f'{kind} is not in the {scope}::model registry'
        told = unknown_argument(settings, text) or unknown_type(settings, text)
        if told is None:
            raise
        raise ConfigError(told) from None


def layer_without_class(settings: dict) -> Any:
    """The type of the first norm, convolution or the like that is not registered."""
    scope = settings.get('default_scope')
    layers = (
        (path, part)
        for path, part in walk(settings)
        if path.endswith('_cfg') and isinstance(part, dict) and 'type' in part
    )
    return next(
        (p['type'] for at, p in layers if not any(kinds_of(p, at, scope))), None
    )


def unknown_argument(settings: dict, error: str) -> str | None:
    """The sentence for a TypeError of a call, None if no part has this argument."""
    if not (found := REFUSED.search(error)):
        return None
    refusing, name = found[1].removesuffix('.__init__'), found[2]
    for path, part in walk(settings):
        if not isinstance(part, dict) or name not in part:
            continue
        for kind in kinds_of(part, path, settings.get('default_scope')):
            # A base class of the part may refuse what the part passes on.
            bases = getattr(kind, '__mro__', [kind])
            if refusing in {base.__qualname__ for base in bases}:
                known = arguments_of(kind)
                nearest = get_close_matches(name, known, 1)
                allowed = (
                    f'the nearest is {nearest[0]}'
                    if nearest
                    else f'it takes {", ".join(known) or "none"}'
                )
                return f'{path}.{name} is no argument of {kind.__name__}: {allowed}.'
    return None


def kinds_of(part: dict, path: str, scope: str | None) -> Iterator[Any]:
    """The classes or functions that may have been built from a part."""
    kind = part.get('type')
    for one in WITHOUT_TYPE.get(path, ()) if kind is None else [kind]:
        if not isinstance(one, str):
            yield one
            continue
        given, _, name = one.rpartition('.')
        # A lazy config names the module: mmpretrain.models.backbones.resnet.ResNet.
        own = given.partition('.')[0] or part.get('_scope_') or scope
        for root in ROOTS:
            for registry in (root.children.get(own), root):
                if registry is not None and name in registry.module_dict:
                    yield registry.module_dict[name]


def arguments_of(kind: Any) -> list[str]:
    """The names that a function, or a class and the bases it passes on to, takes."""
    calls = [kind]
    if isinstance(kind, type):
        own = (vars(base).get('__init__') for base in kind.__mro__)
        calls = [call for call in own if call is not None]
    names: list[str] = []
    for call in calls:
        parameters = inspect.signature(call).parameters.values()
        passed_on = [one for one in parameters if one.kind is one.VAR_KEYWORD]
        names += [
            one.name
            for one in parameters
            if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
        ]
        if not passed_on:
            break
    return [name for name in dict.fromkeys(names) if name != 'self']


def unknown_type(settings: dict, error: str) -> str | None:
    """The sentence for mmengine's KeyError, None if no part has this type."""
    if not (found := UNREGISTERED.search(error.strip('\'"'))):
        return None
    kind, scope, registry = found.groups()
    types = (one for one in walk(settings) if one[0].rpartition('.')[2] == 'type')
    path = next((path for path, value in types if value == kind), None)
    if path is None:
        return None
    given, dot, name = kind.rpartition('.')
    scope = given or scope
    nearest: list[str] = []
    if root := next((root for root in ROOTS if root.name == registry), None):
        children = root.children
        if given not in children:  # the name may be right
            nearest += [f'{one}.{name}' for one in children if children[one].get(name)]
        own = children[scope].module_dict if scope in children else {}
        close = get_close_matches(name, [*own, *root.module_dict], 1)
        nearest += [f'{given}{dot}{one}' for one in close]
    allowed = f'the nearest is {nearest[0]}' if nearest else 'check its spelling'
    return (
        f'{path}={kind} is not a registered {registry} of {scope}: {allowed}, or '
        'import the module of yours with custom_imports.'
    )
