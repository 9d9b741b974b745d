"""Faults of single annotations in COCO format, and why mmdet drops some of them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mmpatchconvnet.data_checks import coco_kinds as kinds
from mmpatchconvnet.data_checks.findings import Findings, Kind

Json = dict[str, Any]


@dataclass(frozen=True)
class Use:
    """What a run does with a file.

    Attributes:
        classes: The names of the categories that count; () for all of them.
        training: Whether a model is trained on it.
        masks: Whether the pipeline loads masks.
        scored: Whether a metric of pycocotools scores it.
        scored_by_file: Whether that metric reads the file itself.
        scored_masks: Whether that metric compares masks.
        min_size: Pictures with a shorter side are left out of training.
        is_part: Whether other data sets are read with it.
    """

    classes: tuple[str, ...] = ()
    training: bool = True
    masks: bool = False
    scored: bool = False
    scored_by_file: bool = False
    scored_masks: bool = False
    min_size: float = 0
    is_part: bool = False


def place_of(annotation: Json, number: int, file: str | None) -> str:
    """Where a fault is: the id of an annotation, or its number, and its picture."""
    name = f'{annotation["id"]!r}' if 'id' in annotation else f'number {number}'
    return f'annotation {name} of {file!r}' if file else f'annotation {name}'


def look_up(table: dict, key: Any) -> Any:
    """The value of a key, None if there is none or if it cannot be one."""
    try:
        return table.get(key)
    except TypeError:  # a list or dict as an id
        return None


def file_of(picture: Json | None) -> str | None:
    """The file name of a picture, None if it has none."""
    file = (picture or {}).get('file_name')
    return file if isinstance(file, str) else None


def is_side(value: Any) -> bool:
    """Whether a value is a width or height."""
    return _is_number(value) and value == int(value) and value > 0


def _are_numbers(values: list) -> bool:
    """Whether all values of a list are finite numbers; there may be millions."""
    try:
        return math.isfinite(sum(values))
    except (TypeError, OverflowError):
        return False


def _is_number(value: Any) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def check_ids(annotations: list, pictures: dict, use: Use, findings: Findings) -> None:
    """Each annotation needs an id of its own; a metric needs whole numbers above 0."""
    seen: set = set()
    for number, annotation in enumerate(annotations):
        if not isinstance(annotation, dict) or annotation.get('id') is None:
            continue
        own = annotation['id']
        found = []
        if not _is_number(own) or own != int(own):
            is_text = isinstance(own, str)
            found += [kinds.TEXT_ID] if use.scored_by_file or not is_text else []
        elif own == 0 and use.scored_by_file:
            found.append(kinds.ZERO_ID)
        if isinstance(own, (int, str, float)):
            found += [kinds.SAME_ID] if own in seen else []
            seen.add(own)
        for kind in found:
            file = file_of(look_up(pictures, annotation.get('image_id')))
            findings.add(kind, place_of(annotation, number, file), file)


def faults_of(annotation: Json, picture: Json | None, use: Use) -> Iterator[Kind]:
    """What is wrong with the fields of one annotation, apart from its id."""
    for field, kind in kinds.NO_FIELD.items():
        if annotation.get(field) is None:
            yield kind
    references = (annotation.get('image_id', 0), annotation.get('category_id', 0))
    if not all(isinstance(one, (int, float, str, type(None))) for one in references):
        yield kinds.BAD_REFERENCE
    if 'iscrowd' not in annotation:
        yield kinds.NO_CROWD_SCORED if use.scored_by_file else kinds.NO_CROWD
    box, area = annotation.get('bbox'), annotation.get('area')
    is_box = isinstance(box, (list, tuple)) and len(box) == 4
    if box is not None and not (is_box and all(map(_is_number, box))):
        yield kinds.BOX_NUMBERS
        return
    if area is not None and not _is_number(area):
        yield kinds.AREA_NUMBER
    if not picture or box is None or not _has_size(picture):
        return
    x, y, width, height = box
    over = max(-x, -y, x + width - picture['width'], y + height - picture['height'])
    if over > 1 and _overlaps(box, picture):
        yield kinds.BEYOND


def _has_size(picture: Json) -> bool:
    return is_side(picture.get('height')) and is_side(picture.get('width'))


def _overlaps(box: list, picture: Json) -> bool:
    x, y, width, height = box
    across = min(x + width, picture['width']) - max(x, 0)
    down = min(y + height, picture['height']) - max(y, 0)
    return across > 0 and down > 0


def mask_faults(
    annotation: Json, picture: Json | None, dropped: str | None, use: Use
) -> Iterator[Kind]:
    """What is wrong with a segmentation: polygons, or a dict of an RLE.

    Those of dropped objects are read by a metric only, unless their category is not
    scored either.
    """
    needed = use.masks or use.scored_masks
    if dropped:
        needed = use.scored_masks and dropped not in (kinds.CHOSEN, kinds.NO_CATEGORY)
    if not needed or not picture or not _has_size(picture):
        return
    mask = annotation.get('segmentation')
    if not mask:
        yield kinds.NO_MASK
    elif isinstance(mask, list):
        parts = all(isinstance(part, list) for part in mask)
        if not parts or not all(map(_are_numbers, mask)):
            yield kinds.BAD_POLYGON
        elif use.scored_masks and not _is_polygon(mask[0]):
            yield kinds.SHORT_POLYGON
    elif isinstance(mask, dict) and isinstance(mask.get('counts'), (list, str)):
        size, counts = mask.get('size'), mask['counts']
        if size != [picture['height'], picture['width']]:
            yield kinds.RLE_SIZE
        elif isinstance(counts, list) and not _are_numbers(counts):
            yield kinds.BAD_POLYGON
        elif isinstance(counts, list) and sum(counts) != size[0] * size[1]:
            yield kinds.RLE_SIZE
    else:
        yield kinds.BAD_POLYGON


def _is_polygon(part: list) -> bool:
    return len(part) >= 6 and len(part) % 2 == 0


def why_dropped(
    annotation: Json, picture: Json | None, category_of: dict, use: Use
) -> str | None:
    """Why mmdet's `CocoDataset` leaves out an annotation, None if it does not."""
    category = annotation['category_id']
    if picture is None:
        return 'of pictures that the file does not list'
    if look_up(category_of, category) is None:
        return kinds.NO_CATEGORY
    if use.classes and category_of[category] not in use.classes:
        return kinds.CHOSEN
    if annotation.get('ignore'):
        return 'marked with ignore'
    box = annotation['bbox']
    if min(box[2:]) < 1:
        return 'less than 1 pixel wide or high'
    if _has_size(picture) and not _overlaps(box, picture):
        return 'outside the picture'
    if annotation['area'] <= 0:
        return 'with an area of 0 or less'
    return None


def lacks_polygon(annotation: Json, use: Use) -> bool:
    """Whether mmdet ignores an object as it finds no polygon in its sound mask."""
    mask = annotation.get('segmentation')
    return use.masks and isinstance(mask, list) and not any(map(_is_polygon, mask))
