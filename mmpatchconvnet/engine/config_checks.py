"""What can be wrong with a config, found before anything is built or trained.

Each fault is a `ConfigError` of one sentence: what was given, what is allowed, what to
do. `tools/train.py` and `tools/test.py` print it and stop.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from torch import nn

DATALOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


class ConfigError(ValueError):
    """A config that cannot work, said in one sentence."""


def check_config(cfg: Config, dataloaders: tuple[str, ...] = DATALOADERS) -> None:
    """Raise `ConfigError` for missing data or a wrong number of classes.

    Args:
        cfg: A config of any host.
        dataloaders: Which of its dataloaders will be used.
    """
    for name in dataloaders:
        loader = cfg.get(name)
        if not loader:
            continue
        for dataset in innermost(loader['dataset']):
            check_paths(dataset, name)
            check_num_classes(cfg, dataset, name)


def innermost(dataset: dict) -> Iterator[dict]:
    """The data sets inside wrappers such as `RepeatDataset` and `ConcatDataset`."""
    inner = dataset.get('datasets') or dataset.get('dataset')
    if not inner:
        yield dataset
    for one in inner if isinstance(inner, (list, tuple)) else [inner] if inner else []:
        yield from innermost(one)


def check_paths(dataset: dict, name: str) -> None:
    """The data root, its annotation file and its folders must exist."""
    root = dataset.get('data_root') or ''
    if '://' in root:
        return
    if root and not Path(root).is_dir():
        raise ConfigError(
            f'data_root={root!r} of {name} is no folder: give yours with '
            '--data-root PATH.'
        )
    prefix = dataset.get('data_prefix') or {}
    prefixes = prefix.values() if isinstance(prefix, dict) else [prefix]
    for part in (dataset.get('ann_file'), *prefixes):
        if part and '://' not in part and not Path(root, part).exists():
            raise ConfigError(
                f'{str(Path(root, part))!r}, which {name} reads, does not exist: mend '
                'data_root, ann_file or data_prefix.'
            )


def check_num_classes(cfg: Config, dataset: dict, name: str) -> None:
    """Every `num_classes` of the model must be the number of the data's classes."""
    classes = classes_of(dataset, cfg.get('default_scope'))
    if not classes:
        return
    for path, number in find_key(cfg.get('model', {}), 'num_classes', 'model'):
        if number != len(classes):
            shown = ', '.join(map(str, classes[:4])) + ', ...' * (len(classes) > 4)
            raise ConfigError(
                f'{path}={number} but {name} has {len(classes)} classes ({shown}): '
                f'set it to {len(classes)}, or mend metainfo.classes of the data set.'
            )


def classes_of(dataset: dict, scope: str | None) -> tuple[str, ...] | None:
    """The classes a data set is configured with, or those of its own class."""
    given = (dataset.get('metainfo') or {}).get('classes') or dataset.get('classes')
    if given is None:
        with DATASETS.switch_scope_and_registry(dataset.get('_scope_', scope)) as host:
            dataset_class = host.get(dataset['type'])
        given = getattr(dataset_class, 'METAINFO', {}).get('classes')
    # A string names a file of classes, which the data set reads by itself.
    return None if given is None or isinstance(given, str) else tuple(given)


def find_key(node: object, key: str, path: str) -> Iterator[tuple[str, int]]:
    """Every integer under `key` in nested dicts and lists, with its dotted path."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key and isinstance(value, int):
                yield f'{path}.{name}', value
            yield from find_key(value, key, f'{path}.{name}')
    elif isinstance(node, (list, tuple)):
        for i, value in enumerate(node):
            yield from find_key(value, key, f'{path}.{i}')


def check_features(model: nn.Module) -> None:
    """Run one small picture through a backbone or neck of this package.

    A pyramid that got the wrong number or width of maps says so here, before training.
    """
    neck = getattr(model, 'neck', None)
    parts = [part for part in (model.backbone, neck) if isinstance(part, nn.Module)]
    modules = [module for part in parts for module in part.modules()]
    if not any(type(m).__module__.startswith('mmpatchconvnet.') for m in modules):
        return
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    with torch.no_grad():
        x = torch.zeros(1, 3, 64, 64, device=device)
        for part in parts:
            x = part(x)
    model.train(training)
