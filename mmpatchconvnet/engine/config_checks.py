"""What can be wrong with a config, found before anything is built or trained.

Each fault is a `ConfigError` of one sentence: what was given, what is allowed, what to
do. `tools/train.py` and `tools/test.py` print it and stop. What the checks do not
understand, such as remote or self-downloading data, they let pass.
"""

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from PIL import Image
from torch import nn

DATALOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
MAPS = 32  # how many label maps of a data set are read
# What counts the classes of the data; other parts count things of their own.
COUNTERS = ('head', 'bbox_head', 'mask_head', 'decode_head', 'data_preprocessor')


class ConfigError(ValueError):
    """A config that cannot work, said in one sentence."""


def check_config(cfg: Config, dataloaders: tuple[str, ...] = DATALOADERS) -> None:
    """Raise `ConfigError` for missing data or classes that are not those of the data.

    Args:
        cfg: A config of any host.
        dataloaders: Which of its dataloaders will be used.
    """
    for name in dataloaders:
        for dataset in datasets_of(cfg, name):
            dataset_class = find_class(dataset, cfg.get('default_scope'))
            check_paths(dataset, dataset_class, name)
            check_num_classes(cfg, dataset, dataset_class, name)
            check_palette(dataset, dataset_class, name)
            check_class_folders(dataset, dataset_class, name)
            check_coco_file(dataset, dataset_class, name)
            check_label_maps(dataset, dataset_class, name)


def datasets_of(cfg: Config, dataloader: str) -> Iterator[dict]:
    """The data sets of a dataloader, without wrappers such as `RepeatDataset`."""
    loader = cfg.get(dataloader)
    if isinstance(loader, dict):
        yield from innermost(loader.get('dataset'))


def innermost(dataset: object) -> Iterator[dict]:
    if isinstance(dataset, (list, tuple)):
        for one in dataset:
            yield from innermost(one)
    elif isinstance(dataset, dict):
        inner = dataset.get('datasets') or dataset.get('dataset')
        if inner:
            yield from innermost(inner)
        else:
            yield dataset


def find_class(dataset: dict, scope: str | None) -> type | None:
    """The class behind `type`, which is a name or, in a lazy config, the class."""
    kind = dataset.get('type')
    if not isinstance(kind, str):
        return kind
    with DATASETS.switch_scope_and_registry(dataset.get('_scope_', scope)) as host:
        return host.get(kind)


def check_paths(dataset: dict, dataset_class: type | None, name: str) -> None:
    """The data root, the annotation files and the folders must exist."""
    root = dataset.get('data_root') or ''
    if not is_local(dataset, dataset_class):
        return
    if root and not Path(root).is_dir():
        raise ConfigError(
            f'data_root={root!r} of {name} is no folder: give yours with '
            '--data-root PATH.'
        )
    for part in strings((dataset.get('ann_file'), dataset.get('data_prefix'))):
        if part and '://' not in part and not Path(root, part).exists():
            raise ConfigError(
                f'{str(Path(root, part))!r}, which {name} reads, does not exist: mend '
                'data_root, ann_file or data_prefix.'
            )


def is_local(dataset: dict, dataset_class: type | None) -> bool:
    """Whether the data must lie on a disk already."""
    downloads = dataset_class is not None and (
        'download' in inspect.signature(dataset_class).parameters
    )
    remote = dataset.get('backend_args') or '://' in (dataset.get('data_root') or '')
    return not downloads and not remote


def strings(node: object) -> Iterator[str]:
    """Every string in nested dicts, lists and tuples."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        yield from strings(list(node.values()))
    elif isinstance(node, (list, tuple)):
        for one in node:
            yield from strings(one)


def check_num_classes(
    cfg: Config, dataset: dict, dataset_class: type | None, name: str
) -> None:
    """Every `num_classes` must be the number of the data's classes."""
    model = cfg.get('model') or {}
    classes = classes_of(dataset, dataset_class)
    # Words are the classes of a grounding model, and a tracker's detector its own.
    if not classes or 'language_model' in model or 'detector' in model:
        return
    allowed = {len(classes)}
    things = getattr(dataset_class, 'METAINFO', {}).get('thing_classes')
    if things:
        allowed.add(len(things))
    parts = dict(model=model, data_preprocessor=cfg.get('data_preprocessor'))
    for path, number in all_num_classes(parts):
        if number not in allowed:
            shown = ', '.join(map(str, classes[:4])) + ', ...' * (len(classes) > 4)
            raise ConfigError(
                f'{path}={number} but {name} has {len(classes)} classes ({shown}): '
                f'set it to {len(classes)}, or mend metainfo.classes of the data set.'
            )


def classes_of(dataset: dict, dataset_class: type | None) -> tuple[str, ...] | None:
    """The classes a data set is configured with, or those of its own class."""
    given = (dataset.get('metainfo') or {}).get('classes') or dataset.get('classes')
    if isinstance(given, str):  # the data set reads a file of names by itself
        if '://' in given or Path(given).expanduser().is_file():
            return None
        raise ConfigError(
            f'classes={given!r} is no file of class names: write ({given!r},) for a '
            'single class.'
        )
    if given is None:
        given = getattr(dataset_class, 'METAINFO', {}).get('classes')
    return None if given is None else tuple(given)


def check_palette(dataset: dict, dataset_class: type | None, name: str) -> None:
    """As many colours as classes, where classes are no selection of known ones."""
    classes = classes_of(dataset, None)
    palette = (dataset.get('metainfo') or {}).get('palette')
    known = getattr(dataset_class, 'METAINFO', {}).get('classes')
    if not classes or known or not palette or isinstance(palette, str):
        return
    if len(palette) != len(classes):
        raise ConfigError(
            f'metainfo.palette of {name} has {len(palette)} colours for {len(classes)} '
            'classes: give one for each, or palette=[] to have them chosen.'
        )


def check_class_folders(dataset: dict, dataset_class: type | None, name: str) -> None:
    """There must be as many classes as folders, and those of a folder's name in place.

    The others may be names for people, where folders have numbers.
    """
    classes, prefix = classes_of(dataset, None), dataset.get('data_prefix') or ''
    if not classes or dataset.get('ann_file') or not dataset.get('with_label', True):
        return
    if isinstance(prefix, dict):
        prefix = prefix.get('img_path', '')
    folder = Path(dataset.get('data_root') or '', prefix)
    if not loads_as(dataset_class, 'CustomDataset') or not folder.is_dir():
        return
    folders = sorted(path.name for path in folder.iterdir() if path.is_dir())
    fits = len(classes) == len(folders) and not any(
        one != place and one in folders
        for one, place in zip(classes, folders, strict=True)
    )
    if not fits:
        raise ConfigError(
            f'metainfo.classes of {name} is {classes}, but labels count the folders in '
            f'{str(folder)!r} alphabetically: write {tuple(folders)}.'
        )


def check_coco_file(dataset: dict, dataset_class: type | None, name: str) -> None:
    """Classes must follow the file's categories, which mmdet labels in order.

    Only a file for classes given in the config is read: others are published, and may
    be large. Its pictures must be there.
    """
    classes, file = classes_of(dataset, None), dataset.get('ann_file')
    if not classes or not loads_as(dataset_class, 'CocoDataset'):
        return
    if not file or '://' in file or not is_local(dataset, dataset_class):
        return
    path = Path(dataset.get('data_root') or '', file)
    try:
        content = json.loads(path.read_bytes())
        names = [category['name'] for category in content['categories']]
        pictures = [picture['file_name'] for picture in content['images']]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f'{str(path)!r}, which {name} reads, is no COCO file '
            f'({type(error).__name__}: {error}): mend ann_file.'
        ) from None
    if len(set(names)) < len(names):
        raise ConfigError(
            f'{str(path)!r}, which {name} reads, has categories of the same name '
            f'({", ".join(names)}): rename them.'
        )
    if [one for one in names if one in classes] != list(classes):
        raise ConfigError(
            f'metainfo.classes of {name} is {classes}, but labels follow the '
            f'categories in {str(path)!r}: choose from {tuple(names)} and keep this '
            'order.'
        )
    prefix = (dataset.get('data_prefix') or {}).get('img') or ''
    folder = Path(dataset.get('data_root') or '', prefix)
    missing = [one for one in pictures if not Path(folder, one).is_file()]
    if missing:
        raise ConfigError(
            f'{str(folder)!r} of {name} lacks {len(missing)} pictures that '
            f'{str(path)!r} names, such as {missing[0]}: mend data_prefix.img, or add '
            'them.'
        )


def check_label_maps(dataset: dict, dataset_class: type | None, name: str) -> None:
    """There must be pictures, and pixels of label maps must hold classes.

    A few maps are read, and only where mmseg takes their labels as they are.
    """
    classes, prefix = classes_of(dataset, None), dataset.get('data_prefix') or {}
    known = getattr(dataset_class, 'METAINFO', {}).get('classes')
    as_they_are = not known and not dataset.get('reduce_zero_label')
    if not classes or not as_they_are or not is_local(dataset, dataset_class):
        return
    if not loads_as(dataset_class, 'BaseSegDataset') or dataset.get('ann_file'):
        return
    pictures, maps = (
        Path(dataset.get('data_root') or '', prefix.get(key) or '')
        for key in ('img_path', 'seg_map_path')
    )
    suffix = dataset.get('img_suffix', '.jpg')
    if not any(pictures.rglob(f'*{suffix}')):
        raise ConfigError(
            f'{str(pictures)!r} of {name} holds no *{suffix}: set img_suffix to what '
            'the names of its pictures end in.'
        )
    paths = sorted(maps.rglob(f'*{dataset.get("seg_map_suffix", ".png")}'))
    for path in paths[:: len(paths) // MAPS + 1]:
        labels = np.unique(np.asarray(Image.open(path)))
        wrong = labels[labels >= len(classes)]
        wrong = wrong[wrong != dataset.get('ignore_index', 255)]
        if wrong.size:
            raise ConfigError(
                f'{str(path)!r} of {name} holds the label {wrong[0]}, but there are '
                f'{len(classes)} classes, counted from 0: mend the maps or '
                'metainfo.classes.'
            )


def loads_as(dataset_class: type | None, name: str) -> bool:
    """Whether data is loaded as in that class of a host, not as a subclass has it.

    What loads in another way may also label in another order.
    """
    load = getattr(dataset_class, 'load_data_list', None)
    return getattr(load, '__qualname__', '') == f'{name}.load_data_list'


def all_num_classes(node: object, path: str = '') -> Iterator[tuple[str, int]]:
    """Dotted path and value of every `num_classes`, in cascades of heads too."""
    if isinstance(node, dict):
        for name, value in node.items():
            inner = f'{path}.{name}' if path else name
            parts = value if isinstance(value, (list, tuple)) else [value]
            for part in parts if name in COUNTERS else []:
                if isinstance(part, dict) and isinstance(part.get('num_classes'), int):
                    yield f'{inner}.num_classes', part['num_classes']
            yield from all_num_classes(value, inner)


def check_features(model: nn.Module) -> None:
    """Run one small picture through the backbone and neck of this package.

    A pyramid that got the wrong number or width of maps says so here, before training.
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
