"""Folds for cross-validation, split by person, scene or source picture.

A model recognizes the person or the place that it was trained on. So pictures that
share one are a group, and a group is never split between training and validation.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from mmengine.logging import print_log
from torchvision.datasets.folder import IMG_EXTENSIONS

ANNOTATIONS = 'annotations/instances_{}.json'


def write_folds(
    source: Path, target: Path, group_of: Callable[[dict], str], num_folds: int
) -> list[Path]:
    """Split the training pictures of a data set into folds of whole groups.

    Each fold is the root of a data set in the layout of the source: its `val` holds
    one part of the groups, its `train` all others. Pictures and label maps are links.
    The validation pictures of the source are in no fold. The log says how many groups
    there are: with a wrong pattern each picture may be its own.

    Args:
        source: Root of a data set with `train/CLASS/*`; `images/train` and
            `annotations/instances_train.json` in COCO format; or `images/train` and
            `labels/train`.
        target: Folder of the folds `fold0`, `fold1` and so on; it must not exist.
        group_of: The group of a picture, from its entry in a COCO file, or from a dict
            with its `file_name`; see `by_name` and `by_field`.
        num_folds: Number of folds, at least 2.

    Returns:
        The roots of the folds.

    Raises:
        ValueError: No known layout, fewer groups than folds, or a picture without a
            group, without its file or without its label map.
        FileExistsError: The target exists.
    """
    if target.exists():
        raise FileExistsError(f'{target} exists: give a new folder, or delete it.')
    annotations = source / ANNOTATIONS.format('train')
    is_coco = annotations.is_file()
    if is_coco:
        content = json.loads(annotations.read_text())
        entries = {f'images/train/{i["file_name"]}': i for i in content['images']}
        check_images(source, content['images'])
    elif (source / 'labels/train').is_dir():
        entries = named(source, 'images/train/*')
    else:
        entries = named(source, 'train/*/*')
    if not entries:
        raise ValueError(
            f'{source} has no training pictures: give a folder with train/CLASS/*, or '
            'with images/train and either labels/train or '
            f'{ANNOTATIONS.format("train")}.'
        )
    groups = {file: group_of(entry) for file, entry in entries.items()}
    folds = assign(groups, num_folds)
    print_log(
        f'{len(groups)} pictures in {len(set(groups.values()))} groups', 'current'
    )
    labels = label_maps_of(source, entries)
    classes = {Path(file).parent.name for file in entries if file.startswith('train/')}

    roots = [target / f'fold{number}' for number in range(num_folds)]
    for number, root in enumerate(roots):
        parts = {file: ('train', 'val')[folds[file] == number] for file in entries}
        for file, part in parts.items():
            link(source / file, root / in_part(file, part))
            if label := labels.get(file):
                link(label, root / 'labels' / part / label.name)
        for name in classes:  # the hosts number the folders of each part
            for part in ('train', 'val'):
                (root / part / name).mkdir(parents=True, exist_ok=True)
        for part in ('train', 'val') if is_coco else ():
            images = [entries[file] for file in entries if parts[file] == part]
            write_part(content, images, root / ANNOTATIONS.format(part))
    return roots


def named(source: Path, pattern: str) -> dict[str, dict]:
    """An entry with its `file_name` for each picture, by path in the source."""
    return {
        str(path.relative_to(source)): dict(file_name=path.name)
        for path in sorted(source.glob(pattern))
        if path.suffix.lower() in IMG_EXTENSIONS
    }


def check_images(source: Path, images: list[dict]) -> None:
    """Raise if a COCO file names a picture that is missing, or names one twice."""
    names = Counter(image['file_name'] for image in images)
    for name, count in names.items():
        if count > 1:
            raise ValueError(f'the COCO file names {name} {count} times: name it once.')
        if not (source / 'images/train' / name).is_file():
            raise ValueError(
                f'{source / "images/train" / name} is missing, but the COCO file names '
                'it: add the picture or remove its entry.'
            )


def label_maps_of(source: Path, files: Iterable[str]) -> dict[str, Path]:
    """The label map of each picture, which has its name but for the ending."""
    found = sorted((source / 'labels/train').glob('*'))
    by_stem = {path.stem: path for path in found}
    if not found:
        return {}
    labels = {}
    for file in files:
        if Path(file).stem not in by_stem:
            raise ValueError(
                f'{file} has no label map in labels/train with the name '
                f'{Path(file).stem}: give both the same name.'
            )
        labels[file] = by_stem[Path(file).stem]
    return labels


def in_part(file: str, part: str) -> str:
    """The path of a training picture in another part."""
    return re.sub(r'^(images/)?train/', rf'\g<1>{part}/', file)


def write_part(content: dict, images: list[dict], file: Path) -> None:
    """Write a COCO file that holds some of the images and their annotations."""
    ids = {image['id'] for image in images}
    annotations = [
        one for one in content.get('annotations', ()) if one['image_id'] in ids
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        json.dumps({**content, 'images': images, 'annotations': annotations})
    )


def link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(os.path.relpath(source.resolve(), target.parent.resolve()))


def assign(groups: dict[str, str], num_folds: int) -> dict[str, int]:
    """The fold of each picture: the largest groups first, each to the smallest fold.

    Args:
        groups: The group of each picture.
        num_folds: Number of folds.
    """
    sizes = Counter(groups.values())
    if not 2 <= num_folds <= len(sizes):
        raise ValueError(
            f'{num_folds} folds do not fit {len(sizes)} groups of pictures: give from '
            '2 folds to one for each group.'
        )
    filled = [0] * num_folds
    folds = {}
    for group, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        folds[group] = filled.index(min(filled))
        filled[folds[group]] += size
    return {picture: folds[group] for picture, group in groups.items()}


def by_name(pattern: str) -> Callable[[dict], str]:
    """Groups by the part of the file name, from its start, that a pattern matches."""

    def group_of(entry: dict) -> str:
        match = re.match(pattern, Path(entry['file_name']).name)
        if not match:
            raise ValueError(
                f'{entry["file_name"]} does not begin with {pattern!r}: give a regular '
                'expression that matches every file name.'
            )
        return match[0]

    return group_of


def by_field(name: str) -> Callable[[dict], str]:
    """Groups by a field of the images in a COCO file."""

    def group_of(entry: dict) -> str:
        if name not in entry:
            raise ValueError(
                f'{entry["file_name"]} has no field {name!r}: give one of '
                f'{", ".join(sorted(entry))}.'
            )
        return str(entry[name])

    return group_of
