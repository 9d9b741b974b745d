"""Faults of an annotation file in COCO format.

One pass finds what mmdet and pycocotools would end at with a traceback, and what they
would leave out or merge without a word.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpatchconvnet.data_checks import coco_kinds as kinds
from mmpatchconvnet.data_checks.coco_annotations import (
    Json,
    Use,
    check_ids,
    faults_of,
    file_of,
    is_side,
    lacks_polygon,
    look_up,
    mask_faults,
    place_of,
    why_dropped,
)
from mmpatchconvnet.data_checks.findings import Findings
from mmpatchconvnet.data_checks.sources import DataSource, classes_of


@dataclass(frozen=True)
class Object:
    """An object that the host uses: its class, its area, and its picture."""

    category: str
    area: float
    file: str
    crowd: bool


def use_of(source: DataSource) -> Use:
    """What a run does with the file of a data set."""
    settings = source.settings
    metrics = [
        one
        for one in source.evaluators
        if str(one.get('type')).endswith('CocoMetric') and not one.get('format_only')
    ]
    compared = [name for one in metrics for name in _listed(one.get('metric', 'bbox'))]
    return Use(
        classes=classes_of(settings, source.kind) or (),
        training=source.training,
        masks=bool(source.step('LoadAnnotations').get('with_mask')),
        scored=bool(metrics),
        scored_by_file=any(one.get('ann_file') for one in metrics),
        scored_masks='segm' in compared,
        min_size=(settings.get('filter_cfg') or {}).get('min_size', 0),
        is_part=source.is_part,
    )


def _listed(value: Any) -> list:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def read_coco(path: Path, findings: Findings) -> Json | None:
    """The content of a file, None with an error in `findings` if it is not COCO."""
    try:
        content = json.loads(path.read_bytes())
        for key in ('images', 'categories'):
            if not isinstance(content[key], list):
                raise TypeError(f'{key} is not a list')
        for category in content['categories']:
            hash((category['name'], category['id']))
        if not isinstance(content.setdefault('annotations', []), list):
            raise TypeError('annotations is not a list')
    except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        findings.errors.append(
            f'{findings.title} is not a COCO file ({type(error).__name__}: {error}): '
            'fix ann_file.'
        )
        return None
    return content


def check_categories(content: Json, use: Use, findings: Findings) -> bool:
    """Classes must be in the order of the file's categories, as mmdet numbers these.

    Returns whether they are, and whether each category can be told from the others.
    """
    ids = [category['id'] for category in content['categories']]
    names = [category['name'] for category in content['categories']]
    chosen = [one for one in names if one in use.classes]
    for values, what, remedy in (
        (ids, 'with the id', 'renumber'),
        (chosen, 'named', 'rename'),
    ):
        twice = [one for one in values if values.count(one) > 1]
        if twice:
            findings.errors.append(
                f'{findings.title} has several categories {what} {twice[0]!r}: '
                f'{remedy} them.'
            )
            return False
    if use.classes and chosen != list(use.classes):
        path, _, name = findings.title.rpartition(' of ')
        findings.errors.append(
            f'metainfo.classes of {name} is {use.classes}, but labels follow the '
            f'categories in {path}: choose from {tuple(names)} and keep this order.'
        )
        return False
    return True


def check_content(content: Json, use: Use, findings: Findings) -> list[Object]:
    """Find all faults of pictures and annotations.

    Returns:
        The objects that the host uses, crowds included.
    """
    pictures = check_pictures(content['images'], use, findings)
    annotations = content['annotations']
    findings.totals.update(annotations=len(annotations), objects=len(annotations))
    category_of = {one['id']: one['name'] for one in content['categories']}
    check_ids(annotations, pictures, use, findings)
    used = []
    for number, annotation in enumerate(annotations):
        if not isinstance(annotation, dict):
            findings.add(kinds.NOT_A_DICT, f'annotation number {number}')
            continue
        picture = look_up(pictures, annotation.get('image_id'))
        file = file_of(picture)
        faults = list(faults_of(annotation, picture, use))
        reason = None
        if not any(fault.stops for fault in faults):
            reason = why_dropped(annotation, picture, category_of, use)
            wrong = list(mask_faults(annotation, picture, reason, use))
            if not wrong and not reason and lacks_polygon(annotation, use):
                reason = kinds.NO_POLYGON
            faults += wrong
        if faults or reason:
            place = place_of(annotation, number, file)
        for fault in faults:
            findings.add(fault, place, file)
        if reason:
            findings.drop(reason, place, file)
        elif picture and not any(fault.stops for fault in faults):
            category = category_of[annotation['category_id']]
            crowd = bool(annotation.get('iscrowd'))
            used.append(Object(category, annotation['area'], str(file), crowd))
    conclude(used, pictures, use, findings)
    return used


def check_pictures(images: list, use: Use, findings: Findings) -> dict[Any, Json]:
    """Check the list of pictures.

    Returns:
        The pictures by id, the first of those that share one.
    """
    findings.totals['pictures'] = len(images)
    pictures: dict[Any, Json] = {}
    files: set[str] = set()
    for number, image in enumerate(images):
        image = image if isinstance(image, dict) else {}
        file = file_of(image)
        place = repr(file) if file else f'picture number {number}'
        for field, kind in kinds.NO_PICTURE_FIELD.items():
            if image.get(field) is None or (field == 'file_name' and not file):
                findings.add(kind, place, file)
        sides = [
            image[key] for key in ('height', 'width') if image.get(key) is not None
        ]
        if not all(map(is_side, sides)):
            findings.add(kinds.PICTURE_SIZE, place, file)
        elif use.training and sides and min(sides) < use.min_size:
            findings.add(kinds.TOO_SMALL, place, file)
        if look_up(pictures, image.get('id')) is not None:
            findings.add(kinds.SAME_PICTURE_ID, f'{image["id"]!r} of {place}', file)
        elif isinstance(image.get('id'), (int, float, str)):
            pictures[image['id']] = image
        elif image.get('id') is not None:
            findings.add(kinds.PICTURE_ID, place, file)
        if file and file in files:
            findings.add(kinds.SAME_FILE, place, file)
        files.add(file or '')
    if not images:
        findings.errors.append(
            f'{findings.title} lists no pictures: fix ann_file, or add them to images.'
        )
    elif findings.count(kinds.TOO_SMALL) == len(images):
        findings.errors.append(
            f'{findings.title}: all {len(images)} pictures are smaller than '
            f'filter_cfg.min_size={use.min_size}: lower it.'
        )
    return pictures


def conclude(used: list[Object], pictures: dict, use: Use, findings: Findings) -> None:
    """Say what is left out, and whether anything is left."""
    total, count = findings.totals['objects'], len(used)
    # Other data sets of the dataloader may have the objects.
    empty = findings.warnings if use.is_part else findings.errors
    if findings.dropped and pictures:
        verb = 'dropped by mmdet' if use.training else 'that cannot be found'
        told = findings.dropped_sentence(verb)
        if not count and not any(kind.stops for kind in findings.groups):
            empty.append(f'{told}: fix them, as none is left.')
        elif set(findings.dropped) != {kinds.CHOSEN}:
            findings.warnings.append(f'{told}: fix them to use them.')
    elif not total and pictures and (use.training or use.scored):
        what = 'train on' if use.training else 'score'
        empty.append(
            f'{findings.title} has no annotations: give one with objects to {what}.'
        )
    if use.training and used and all(one.crowd for one in used):
        empty.append(
            f'{findings.title}: all {count} objects have iscrowd=1, which training '
            'ignores: set iscrowd=0 for single objects.'
        )
