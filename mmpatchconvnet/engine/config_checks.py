"""Checks of a config before anything is built or trained.

Each fault is a sentence of a `ConfigError`: what was given, what is allowed, what to
do. The commands `train` and `test` print it and exit. Data that the checks cannot read,
such as remote data or data sets that download themselves, is not checked.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from mmpatchconvnet.config_files import ConfigError, datasets_of, resolve_type
from mmpatchconvnet.data_checks.quick import check_data
from mmpatchconvnet.data_checks.sources import classes_of, is_local

DATALOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# Parts whose num_classes is the number of classes of the data.
PARTS_WITH_CLASSES = (
    'head',
    'bbox_head',
    'mask_head',
    'decode_head',
    'panoptic_head',
    'panoptic_fusion_head',
    'data_preprocessor',
)


def check_config(
    cfg: Config,
    dataloaders: tuple[str, ...] = DATALOADERS,
    skip_bad_files: bool = False,
) -> list[str]:
    """Check the classes and the data of a config; see `data_checks.quick`.

    Args:
        cfg: A config of any host.
        dataloaders: Which of its dataloaders will be used.
        skip_bad_files: Whether files that cannot be read are only warnings.

    Returns:
        Warnings, a sentence each.

    Raises:
        ConfigError: A sentence for each kind of fault that makes training wrong.
    """
    check_settings(cfg, dataloaders)
    findings = check_data(cfg, dataloaders)
    errors = [text for one in findings for text in one.sentences(True, skip_bad_files)]
    if errors:
        raise ConfigError('\n'.join(errors))
    return [text for one in findings for text in one.sentences(False, skip_bad_files)]


def check_settings(cfg: Config, dataloaders: Iterable[str]) -> None:
    """Check paths, numbers of classes and palettes; no data is read.

    Raises:
        ConfigError: The first fault.
    """
    model = cfg.get('model') or {}
    if not isinstance(model, dict):
        raise ConfigError(f'model={model!r} is not a dict: give one with its type.')
    for name in dataloaders:
        for dataset in datasets_of(cfg, name):
            dataset_class = resolve_type(dataset, cfg.get('default_scope'))
            check_paths(dataset, dataset_class, name)
            check_num_classes(cfg, dataset, dataset_class, name)
            check_palette(dataset, dataset_class, name)
    check_class_weights(model)


def check_paths(dataset: dict, dataset_class: type | None, name: str) -> None:
    """The data root, the annotation files and the folders must exist."""
    root = dataset.get('data_root') or ''
    if not is_local(dataset, dataset_class):
        return
    if root and not Path(root).is_dir():
        raise ConfigError(
            f'data_root={root!r} of {name} is not a folder: give the folder of your '
            'data with --data-root PATH.'
        )
    for part in nested_strings((dataset.get('ann_file'), dataset.get('data_prefix'))):
        if part and '://' not in part and not Path(root, part).exists():
            raise ConfigError(
                f'{str(Path(root, part))!r} of {name} does not exist: fix data_root, '
                'ann_file or data_prefix.'
            )


def nested_strings(node: object) -> Iterator[str]:
    """Every string in nested dicts, lists and tuples."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        yield from nested_strings(list(node.values()))
    elif isinstance(node, (list, tuple)):
        for one in node:
            yield from nested_strings(one)


def check_num_classes(
    cfg: Config, dataset: dict, dataset_class: type | None, name: str
) -> None:
    """Every `num_classes` must be the number of classes of the data.

    mmdet's `NumClassCheckHook` checks a detector's heads, once training has started.
    """
    model = cfg.get('model') or {}
    classes = classes_of(dataset, dataset_class)
    # A grounding model takes any words as classes, and a tracker has its own detector.
    if not classes or 'language_model' in model or 'detector' in model:
        return
    allowed = {len(classes)}
    things = getattr(dataset_class, 'METAINFO', {}).get('thing_classes')
    if things:
        allowed.add(len(things))
    parts = dict(model=model, data_preprocessor=cfg.get('data_preprocessor'))
    for path, number in find_num_classes(parts):
        if number not in allowed:
            shown = ', '.join(map(str, classes[:4])) + ', ...' * (len(classes) > 4)
            raise ConfigError(
                f'{path}={number} but {name} has {len(classes)} classes ({shown}): '
                f'set it to {len(classes)}, or fix metainfo.classes of the data set.'
            )


def check_class_weights(model: dict) -> None:
    """A Mask2Former has a weight for each class and one for no object."""
    for name in ('panoptic_head', 'decode_head'):
        head = model.get(name)
        if not isinstance(head, dict) or 'pixel_decoder' not in head:
            continue
        weights = (head.get('loss_cls') or {}).get('class_weight')
        for path, number in own_num_classes(head, f'model.{name}'):
            if isinstance(weights, list) and len(weights) != number + 1:
                raise ConfigError(
                    f'model.{name}.loss_cls.class_weight has {len(weights)} numbers '
                    f'but {path}={number}: give one for each class and a last one for '
                    f'no object, such as [1.0] * {number} + [0.1].'
                )


def check_palette(dataset: dict, dataset_class: type | None, name: str) -> None:
    """The palette must have a colour for each class, if the classes are custom."""
    classes = classes_of(dataset, None)
    palette = (dataset.get('metainfo') or {}).get('palette')
    known = getattr(dataset_class, 'METAINFO', {}).get('classes')
    if not classes or known or not palette or isinstance(palette, str):
        return
    if len(palette) != len(classes):
        raise ConfigError(
            f'metainfo.palette of {name} has {len(palette)} colours for {len(classes)} '
            'classes: give one for each, or palette=[] for automatic colours.'
        )


def find_num_classes(node: object, path: str = '') -> Iterator[tuple[str, int]]:
    """Dotted path and value of every `num_classes`, also in lists of heads."""
    if isinstance(node, dict):
        for name, value in node.items():
            inner = f'{path}.{name}' if path else name
            parts = value if isinstance(value, (list, tuple)) else [value]
            for part in parts if name in PARTS_WITH_CLASSES else []:
                if isinstance(part, dict):
                    yield from own_num_classes(part, inner)
            yield from find_num_classes(value, inner)


def own_num_classes(part: dict, path: str) -> Iterator[tuple[str, int]]:
    """The `num_classes` of a part, or the sum of things and stuff of a panoptic one."""
    if isinstance(part.get('num_classes'), int):
        yield f'{path}.num_classes', part['num_classes']
    things, stuff = part.get('num_things_classes'), part.get('num_stuff_classes')
    if isinstance(things, int) and isinstance(stuff, int):
        and_stuff = ' + num_stuff_classes' if stuff else ''
        yield f'{path}.num_things_classes{and_stuff}', things + stuff


def check_features(model: nn.Module) -> None:
    """Run one small image through the backbone and neck of this package.

    A pyramid that gets a wrong number or width of maps, or was built for a column of
    another stride, raises here, before training.
    """
    backbone: Any = getattr(model, 'backbone', None)
    neck: Any = getattr(model, 'neck', None)
    if not hasattr(backbone, 'stem_indices'):  # not ours: its input is unknown
        return
    check_stride(backbone, neck)
    weight = backbone.stem.convs[0].weight
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            maps = backbone(weight.new_zeros(1, weight.shape[1], 64, 64))
            if neck is not None:
                neck(maps)
    finally:
        model.train(training)


def check_stride(backbone: nn.Module, neck: nn.Module | None) -> None:
    """Raise if a pyramid was built for a column of another stride."""
    # Loaded already if the backbone is ours; other models start without them.
    from mmpatchconvnet.models import PatchConvNet
    from mmpatchconvnet.models.pyramids import Pyramid

    if not isinstance(backbone, PatchConvNet) or neck is None:
        return
    stride = backbone.patch_size
    for module in neck.modules():
        if isinstance(module, Pyramid) and module.patch_size not in (None, stride):
            raise ConfigError(
                f'{module.name} is built for a column of stride {module.patch_size}, '
                f'but the backbone has {stride}: set its patch_size={stride}.'
            )
