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
from mmengine.fileio import list_dir_or_file
from mmengine.registry import DATASETS, TRANSFORMS, Registry
from PIL import Image
from torch import nn

DATALOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
MAPS = 32  # how many label maps of a data set are read
KNOWN = ('mmseg.', 'mmcv.', 'mmpatchconvnet.')  # whose transforms keep labels
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
            check_label_maps(cfg, dataset, dataset_class, name)


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


def find_class(
    settings: dict, scope: str | None, registry: Registry = DATASETS
) -> type | None:
    """The class behind `type`, which is a name or, in a lazy config, the class."""
    kind = settings.get('type')
    if not isinstance(kind, str):
        return kind
    with registry.switch_scope_and_registry(settings.get('_scope_', scope)) as host:
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
    """Every `num_classes` must be the number of the data's classes.

    mmdet's `NumClassCheckHook` checks a detector's heads, once training has started.
    """
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
    if len(classes) != len(folders):
        raise ConfigError(
            f'metainfo.classes of {name} has {len(classes)} names for the '
            f'{len(folders)} folders in {str(folder)!r}, which are its labels: give '
            'each class a folder, if only an empty one, or mend metainfo.classes.'
        )
    pairs = zip(classes, folders, strict=True)
    if any(one != place and one in folders for one, place in pairs):
        raise ConfigError(
            f'metainfo.classes of {name} is {classes}, but labels count the folders in '
            f'{str(folder)!r} alphabetically: write {tuple(folders)}.'
        )


def check_coco_file(dataset: dict, dataset_class: type | None, name: str) -> None:
    """Classes must follow the file's categories, which mmdet labels in order.

    Only a file for classes given in the config is read. Of own classes, pictures with
    objects must be there; those of published files are too many to look for.
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
        used = {one['image_id'] for one in content.get('annotations', [])}
        pictures = [one['file_name'] for one in content['images'] if one['id'] in used]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f'{str(path)!r}, which {name} reads, is no COCO file '
            f'({type(error).__name__}: {error}): mend ann_file.'
        ) from None
    chosen = [one for one in names if one in classes]
    if len({*chosen}) < len(chosen):
        twice = next(one for one in chosen if chosen.count(one) > 1)
        raise ConfigError(
            f'{str(path)!r}, which {name} reads, has several categories of the name '
            f'{twice!r}: rename them.'
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
    missing = [one for one in pictures if not Path(folder, one).is_file()]
    if missing:
        raise ConfigError(
            f'{str(folder)!r} of {name} has no {missing[0]!r}, one of {len(missing)} '
            f'missing pictures that {str(path)!r} names: mend data_prefix.img, or add '
            'them.'
        )


def check_label_maps(
    cfg: Config, dataset: dict, dataset_class: type | None, name: str
) -> None:
    """There must be pictures, and pixels of label maps must hold classes.

    A few maps are read, of own classes and where nothing changes their labels.
    """
    classes, prefix = classes_of(dataset, None), dataset.get('data_prefix') or {}
    known = getattr(dataset_class, 'METAINFO', {}).get('classes')
    if not classes or known or dataset.get('ann_file'):
        return
    if not loads_as(dataset_class, 'BaseSegDataset') or not is_local(
        dataset, dataset_class
    ):
        return
    root, suffix = dataset.get('data_root') or '', dataset.get('img_suffix', '.jpg')
    folder = Path(root, prefix.get('img_path') or '')
    pictures = sorted(list_dir_or_file(folder, False, suffix=suffix, recursive=True))
    if not pictures:
        raise ConfigError(
            f'{str(folder)!r} of {name} holds no *{suffix}: set img_suffix to what the '
            'names of its pictures end in.'
        )
    ending = dataset.get('seg_map_suffix', '.png')
    if not prefix.get('seg_map_path') or not isinstance(suffix, str):
        return
    if ending != '.png' or not keeps_labels(dataset, cfg.get('default_scope')):
        return
    ignored = {255, *settings_named('ignore_index', cfg.to_dict())}
    for picture in pictures[:: len(pictures) // MAPS + 1]:
        path = Path(root, prefix['seg_map_path'], picture.removesuffix(suffix) + ending)
        try:
            labels = {*np.unique(np.asarray(Image.open(path))).tolist()}
        except OSError as error:
            raise ConfigError(
                f'{str(path)!r}, the label map of {picture} in {name}, cannot be read '
                f'({error}): add it, or mend data_prefix.seg_map_path.'
            ) from None
        wrong = [one for one in labels - ignored if one >= len(classes)]
        if wrong:
            raise ConfigError(
                f'{str(path)!r} of {name} holds the label {wrong[0]}, but there are '
                f'{len(classes)} classes, counted from 0: mend the maps, '
                'metainfo.classes or ignore_index.'
            )


def keeps_labels(dataset: dict, scope: str | None) -> bool:
    """Whether labels reach the loss as they are in their file."""
    if any(settings_named('reduce_zero_label', dataset)):
        return False
    steps = dataset.get('pipeline') or []
    kinds = [find_class(step, scope, TRANSFORMS) for step in steps]
    return all(getattr(kind, '__module__', '').startswith(KNOWN) for kind in kinds)


def settings_named(name: str, node: object) -> Iterator[Any]:
    """The values of this name, anywhere in nested dicts, lists and tuples."""
    if isinstance(node, dict):
        if name in node:
            yield node[name]
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for one in node:
            yield from settings_named(name, one)


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
