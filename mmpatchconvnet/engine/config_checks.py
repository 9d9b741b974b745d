"""Checks of a config before anything is built or trained.

Each fault is a `ConfigError` of one sentence: what was given, what is allowed, what to
do. The commands `train` and `test` print it and exit. Data that the checks cannot read,
such as remote data or data sets that download themselves, is not checked.
"""

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.fileio import list_dir_or_file
from mmengine.registry import TRANSFORMS
from PIL import Image
from torch import nn

from mmpatchconvnet.config_files import ConfigError, datasets_of, resolve_type

DATALOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
MAX_LABEL_MAPS = 32  # that are read of a data set
# Modules whose transforms do not change labels.
LABEL_PRESERVING = ('mmseg.', 'mmcv.', 'mmpatchconvnet.')
# Parts whose num_classes is the number of classes of the data.
PARTS_WITH_CLASSES = (
    'head',
    'bbox_head',
    'mask_head',
    'decode_head',
    'data_preprocessor',
)


def check_config(cfg: Config, dataloaders: tuple[str, ...] = DATALOADERS) -> None:
    """Raise `ConfigError` if data is missing or the classes do not fit the data.

    Args:
        cfg: A config of any host.
        dataloaders: Which of its dataloaders will be used.
    """
    for name in dataloaders:
        for dataset in datasets_of(cfg, name):
            dataset_class = resolve_type(dataset, cfg.get('default_scope'))
            check_paths(dataset, dataset_class, name)
            check_num_classes(cfg, dataset, dataset_class, name)
            check_palette(dataset, dataset_class, name)
            check_class_folders(dataset, dataset_class, name)
            check_coco_file(dataset, dataset_class, name)
            check_label_maps(cfg, dataset, dataset_class, name)


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


def is_local(dataset: dict, dataset_class: type | None) -> bool:
    """Whether the data must already be on a local disk."""
    downloads = dataset_class is not None and (
        'download' in inspect.signature(dataset_class).parameters
    )
    remote = dataset.get('backend_args') or '://' in (dataset.get('data_root') or '')
    return not downloads and not remote


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


def classes_of(dataset: dict, dataset_class: type | None) -> tuple[str, ...] | None:
    """The classes in the settings of a data set, or else the defaults of its class."""
    given = (dataset.get('metainfo') or {}).get('classes') or dataset.get('classes')
    if isinstance(given, str):  # the data set reads a file of names
        if '://' in given or Path(given).expanduser().is_file():
            return None
        raise ConfigError(
            f'classes={given!r} is not a file of class names: write ({given!r},) for a '
            'single class.'
        )
    if given is None:
        given = getattr(dataset_class, 'METAINFO', {}).get('classes')
    return None if given is None else tuple(given)


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


def check_class_folders(dataset: dict, dataset_class: type | None, name: str) -> None:
    """Classes must be as many as folders, and in their order if they have their names.

    A class may have another name than its folder, e.g. if folders are numbered.
    """
    classes, prefix = classes_of(dataset, None), dataset.get('data_prefix') or ''
    if not classes or dataset.get('ann_file') or not dataset.get('with_label', True):
        return
    if isinstance(prefix, dict):
        prefix = prefix.get('img_path', '')
    folder = Path(dataset.get('data_root') or '', prefix)
    if not uses_loader_of(dataset_class, 'CustomDataset') or not folder.is_dir():
        return
    folders = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if len(classes) != len(folders):
        raise ConfigError(
            f'metainfo.classes of {name} has {len(classes)} names for the '
            f'{len(folders)} folders in {str(folder)!r}: give each class a folder, '
            'which may be empty, or fix metainfo.classes.'
        )
    pairs = zip(classes, folders, strict=True)
    if any(one != place and one in folders for one, place in pairs):
        raise ConfigError(
            f'metainfo.classes of {name} is {classes}, but labels number the folders '
            f'in {str(folder)!r} in alphabetical order: write {tuple(folders)}.'
        )


def check_coco_file(dataset: dict, dataset_class: type | None, name: str) -> None:
    """Classes must be in the order of the file's categories, as mmdet numbers these.

    The file is read only if the config sets the classes. If these are custom, images
    with objects must exist; the images of published data sets are too many to check.
    """
    classes, file = classes_of(dataset, None), dataset.get('ann_file')
    if not classes or not uses_loader_of(dataset_class, 'CocoDataset'):
        return
    if not file or '://' in file or not is_local(dataset, dataset_class):
        return
    path = Path(dataset.get('data_root') or '', file)
    try:
        content = json.loads(path.read_bytes())
        names = [category['name'] for category in content['categories']]
        used = {one['image_id'] for one in content.get('annotations', [])}
        images = [one['file_name'] for one in content['images'] if one['id'] in used]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f'{str(path)!r} of {name} is not a COCO file '
            f'({type(error).__name__}: {error}): fix ann_file.'
        ) from None
    chosen = [one for one in names if one in classes]
    if len({*chosen}) < len(chosen):
        twice = next(one for one in chosen if chosen.count(one) > 1)
        raise ConfigError(
            f'{str(path)!r} of {name} has several categories named {twice!r}: rename '
            'them.'
        )
    if chosen != list(classes):
        raise ConfigError(
            f'metainfo.classes of {name} is {classes}, but labels follow the '
            f'categories in {str(path)!r}: choose from {tuple(names)} and keep this '
            'order.'
        )
    prefix = (dataset.get('data_prefix') or {}).get('img') or ''
    known = getattr(dataset_class, 'METAINFO', {}).get('classes', ())
    if {*classes} <= {*known} or '://' in prefix or dataset.get('indices') is not None:
        return
    folder = Path(dataset.get('data_root') or '', prefix)
    missing = [one for one in images if not Path(folder, one).is_file()]
    if missing:
        raise ConfigError(
            f'{str(folder)!r} of {name} has no {missing[0]!r}, one of {len(missing)} '
            f'missing images that {str(path)!r} lists: fix data_prefix.img, or add '
            'them.'
        )


def check_label_maps(
    cfg: Config, dataset: dict, dataset_class: type | None, name: str
) -> None:
    """There must be images, and the pixels of label maps must be classes.

    A few maps are read, if the classes are custom and no transform changes labels.
    """
    classes, prefix = classes_of(dataset, None), dataset.get('data_prefix') or {}
    known = getattr(dataset_class, 'METAINFO', {}).get('classes')
    if not classes or known or dataset.get('ann_file'):
        return
    if not uses_loader_of(dataset_class, 'BaseSegDataset') or not is_local(
        dataset, dataset_class
    ):
        return
    root, suffix = dataset.get('data_root') or '', dataset.get('img_suffix', '.jpg')
    folder = Path(root, prefix.get('img_path') or '')
    images = sorted(list_dir_or_file(folder, False, suffix=suffix, recursive=True))
    if not images:
        raise ConfigError(
            f'{str(folder)!r} of {name} holds no *{suffix}: set img_suffix to the '
            'suffix of its images.'
        )
    map_suffix = dataset.get('seg_map_suffix', '.png')
    if not prefix.get('seg_map_path') or not isinstance(suffix, str):
        return
    if map_suffix != '.png' or not labels_stay_unchanged(
        dataset, cfg.get('default_scope')
    ):
        return
    ignored = {255, *find_settings('ignore_index', cfg.to_dict())}
    for image in images[:: len(images) // MAX_LABEL_MAPS + 1]:
        label_map = image.removesuffix(suffix) + map_suffix
        path = Path(root, prefix['seg_map_path'], label_map)
        try:
            labels = {*np.unique(np.asarray(Image.open(path))).tolist()}
        except OSError as error:
            raise ConfigError(
                f'{str(path)!r}, the label map of {image} in {name}, cannot be read '
                f'({error}): add it, or fix data_prefix.seg_map_path.'
            ) from None
        wrong = [one for one in labels - ignored if one >= len(classes)]
        if wrong:
            raise ConfigError(
                f'{str(path)!r} of {name} holds the label {wrong[0]}, but there are '
                f'{len(classes)} classes, numbered from 0: fix the maps, '
                'metainfo.classes or ignore_index.'
            )


def labels_stay_unchanged(dataset: dict, scope: str | None) -> bool:
    """Whether no transform changes the labels of a map before the loss."""
    if any(find_settings('reduce_zero_label', dataset)):
        return False
    steps = dataset.get('pipeline') or []
    kinds = [resolve_type(step, scope, TRANSFORMS) for step in steps]
    return all(
        getattr(kind, '__module__', '').startswith(LABEL_PRESERVING) for kind in kinds
    )


def find_settings(name: str, node: object) -> Iterator[Any]:
    """The values of a key, anywhere in nested dicts, lists and tuples."""
    if isinstance(node, dict):
        if name in node:
            yield node[name]
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for one in node:
            yield from find_settings(name, one)


def uses_loader_of(dataset_class: type | None, name: str) -> bool:
    """Whether a data set loads its data by the method of this class of a host.

    A subclass with its own method may number the labels in another order.
    """
    load = getattr(dataset_class, 'load_data_list', None)
    return getattr(load, '__qualname__', '') == f'{name}.load_data_list'


def find_num_classes(node: object, path: str = '') -> Iterator[tuple[str, int]]:
    """Dotted path and value of every `num_classes`, also in lists of heads."""
    if isinstance(node, dict):
        for name, value in node.items():
            inner = f'{path}.{name}' if path else name
            parts = value if isinstance(value, (list, tuple)) else [value]
            for part in parts if name in PARTS_WITH_CLASSES else []:
                if isinstance(part, dict) and isinstance(part.get('num_classes'), int):
                    yield f'{inner}.num_classes', part['num_classes']
            yield from find_num_classes(value, inner)


def check_features(model: nn.Module) -> None:
    """Run one small image through the backbone and neck of this package.

    A pyramid that gets a wrong number or width of maps raises here, before training.
    """
    backbone: Any = getattr(model, 'backbone', None)
    neck: Any = getattr(model, 'neck', None)
    if not hasattr(backbone, 'stem_indices'):  # not ours: its input is unknown
        return
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
