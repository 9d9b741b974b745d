"""Faults of pictures with label maps, one pixel value for each class."""

import inspect
import os
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from mmpatchconvnet.data_checks.findings import Findings, Kind
from mmpatchconvnet.data_checks.layout import DataFile, Layout
from mmpatchconvnet.data_checks.picture_files import (
    PICTURE_SUFFIXES,
    UNREAD_SUFFIXES,
    Header,
    evenly,
    why_absent,
    why_unread,
)
from mmpatchconvnet.data_checks.sources import (
    DataSource,
    find_settings,
    list_files_below,
    read_lines,
)
from mmpatchconvnet.pillow_limit import unlimited_pillow

MAX_SEARCHED = 1000  # label maps that are read if the first show at most one class
IGNORED = 255  # mmseg's own ignore_index
ONE_CHANNEL = ('1', 'L', 'P', 'I', 'F')

COPIES = Kind(
    'opened label maps',
    'of several equal channels (mode {mode})',
    'keep the first one: Image.open(file).getchannel(0).save(file)',
)
COLORS = Kind(
    'opened label maps',
    'of colours (mode {mode}) instead of the numbers of classes',
    'write one channel that holds the class of each pixel',
)
REAL = Kind(
    'opened label maps',
    'of real numbers (mode F)',
    'write them as whole numbers, PNG mode L',
)
SIZE = Kind(
    'opened label maps',
    'of another size than their picture as loaded',
    'make them alike; a picture that EXIF turns is loaded turned, unless its '
    "LoadImageFromFile has color_type='color_ignore_orientation'",
)
NO_PICTURE = Kind(
    'files of label maps',
    'without a picture',
    'add the picture, or remove it',
    stops=False,
)
OTHER_SUFFIX = Kind(
    'files',
    'that do not end in {suffix} and are left out',
    'rename them, or set img_suffix',
    stops=False,
)


class LabelMaps(Layout):
    """Pictures and label maps in two local folders, as mmseg's `BaseSegDataset`.

    The values in the maps are not read if a transform of the user may change labels,
    and before training not if the classes are those of a published data set.

    Attributes:
        pixels: The number of pixels of each class in the opened maps.
    """

    counted = 'pixels'

    def __init__(self, source: DataSource, whole: bool = False) -> None:
        self.folder = source.folder('img_path')
        super().__init__(source, self.folder, whole)
        self.pixels: Counter[int] = Counter()
        self.ignored = ignored_labels(source)
        self.readable = bool(
            (self.names if whole else source.classes and not source.known)
            and source.settings.get('seg_map_suffix', '.png') == '.png'
            and source.labels_stay_unchanged()
        )

    @classmethod
    def fits(cls, source: DataSource) -> bool:
        """Whether a data set has this layout."""
        return (
            source.loads_by('BaseSegDataset')
            and source.is_local
            and source.folder('img_path').is_dir()
        )

    def list_files(self) -> list[DataFile]:
        findings, suffix = self.findings, self._setting('img_suffix', '.jpg')
        images = self._list_images(suffix)
        if not images:
            findings.errors.append(
                f'{findings.title} holds no *{suffix}: set img_suffix to the suffix '
                'of its images.'
            )
        maps = self._map_folder()
        if maps and isinstance(suffix, str):
            ending = self._setting('seg_map_suffix', '.png')
            named = {image: image.removesuffix(suffix) + ending for image in images}
            files = [
                DataFile(one, self.folder / one, maps / named[one]) for one in images
            ]
            if maps != self.folder and maps.is_dir() and not self._list_file():
                self._count_alone(maps, ending, set(named.values()))
        else:
            files = [DataFile(image, self.folder / image) for image in images]
        findings.totals['pictures'] = len(files)
        maps_named = [file for file in files if file.label_map]
        findings.totals['label maps'] = len(maps_named)
        for file in self.looked_for(maps_named):
            why = file.label_map and why_absent(file.label_map)
            if why and file.label_map:
                self.blame('label maps', why, file.label_map, file.name)
        return files

    def look_into(self, file: DataFile, header: Header | None) -> None:
        if self.readable and file.label_map and not why_absent(file.label_map):
            self._read_map(file, file.label_map, header)

    def class_counts(self) -> dict[str, int]:
        counts = {name: self.pixels[label] for label, name in enumerate(self.names)}
        unlabelled = sum(self.pixels[one] for one in self.ignored)
        return {**counts, '(not labelled)': unlabelled} if unlabelled else counts

    def conclude(self, opened: list[DataFile]) -> None:
        """At most one class in the opened maps teaches nothing; read on to be sure."""
        if not self.readable or not (self._is_single() or self.whole):
            return
        if self.findings.sentences(stops=True) or not self.pixels:
            return
        if self.whole:
            self._tell_absent()
            return
        others = [file for file in self.files if file not in opened]
        for file in evenly(others, MAX_SEARCHED):
            self.look_into(file, None)
            if not self._is_single():
                return
        self._tell_absent()

    def _setting(self, key: str, default: str) -> str:
        return self.source.settings.get(key, default)

    def _list_file(self) -> Path | None:
        name = self.source.settings.get('ann_file')
        path = Path(self.source.root, name) if name else None
        return path if path and path.is_file() else None

    def _map_folder(self) -> Path | None:
        prefix = (self.source.settings.get('data_prefix') or {}).get('seg_map_path')
        if not self.source.step('LoadAnnotations'):
            return None  # as in a test without labels
        return Path(self.source.root, prefix) if prefix else None

    def _list_images(self, suffix: str) -> list[str]:
        list_file = self._list_file()
        if list_file:
            return [f'{line.strip()}{suffix}' for line in read_lines(list_file)]
        files = list_files_below(self.folder)
        self.findings.totals['files'] = len(files)
        if self._map_folder() != self.folder:
            count_others(files, suffix, self.findings)
        return [file for file in files if file.endswith(suffix)]

    def _count_alone(self, maps: Path, ending: str, named: set[str]) -> None:
        """Count the label maps without a picture."""
        found = list_files_below(maps, ending)
        self.findings.totals['files of label maps'] = len(found)
        for one in found:
            if one not in named:
                self.findings.add(NO_PICTURE, repr(one))

    def _read_map(self, file: DataFile, path: Path, header: Header | None) -> None:
        """Find the faults of a label map and count its pixels."""
        findings, place = self.findings, repr(str(path))
        findings.totals['opened label maps'] += 1
        try:
            with unlimited_pillow(), Image.open(path) as picture:
                mode, labels = picture.mode, np.asarray(picture)
        except Exception as error:  # of many kinds, from damaged files
            why = why_unread(error, path)
            self.blame('opened label maps', why, path, file.name)
            return
        size = header and header.loaded_size(self.source.orients())
        if size and size != labels.shape[1::-1]:
            findings.add(SIZE, place, file.name)
        kind = fault_of_mode(self.source, mode, labels)
        if kind is not None:
            findings.add(kind, place, file.name)
            return
        values, counts = np.unique(labels, return_counts=True)
        stored = Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        own = as_trained(stored, reduces(self.source))
        wrong = {*own} - self.ignored
        wrong = {one for one in wrong if one >= len(self.names)}
        if wrong:
            findings.add(beyond_classes(self.source, min(wrong)), place, file.name)
        self.pixels += own

    @property
    def names(self) -> tuple[str, ...]:
        """The classes as the maps number them."""
        return self.source.known or self.source.classes or ()

    def absent(self) -> list[int]:
        """The classes without a pixel."""
        return [label for label in range(len(self.names)) if not self.pixels[label]]

    def _is_single(self) -> bool:
        absent = self.absent()
        return bool(absent) and len(self.names) - len(absent) <= 1

    def _tell_absent(self) -> None:
        """Say which classes have no pixel; in training one class is an error."""
        absent = [self.names[label] for label in self.absent()]
        if not absent:
            return
        number = self.findings.totals['opened label maps']
        shown = ', '.join(absent[:4]) + ', ...' * (len(absent) > 4)
        remedy = 'paint it, or fix metainfo.classes'
        if self.pixels[IGNORED]:
            label = self.absent()[0]
            remedy = (
                f'{IGNORED} means unlabelled, so if it stands for {self.names[label]}, '
                f'write {label + reduces(self.source)} instead of {IGNORED}'
            )
        told = f'{self.findings.title}: no pixel of {shown} in {number} label maps'
        # A class may be rarer than the maps that were read, unless 255 stands for it.
        is_sure = self.pixels[IGNORED] or number >= self.findings.totals['label maps']
        stops = self.source.training and self._is_single() and is_sure
        sentences = self.findings.errors if stops else self.findings.warnings
        sentences.append(f'{told}: {remedy}.')


def filled(kind: Kind, **values: str) -> Kind:
    """A kind with its blanks filled in."""
    return Kind(
        kind.things,
        kind.what.format(**values),
        kind.remedy,
        kind.stops,
        kind.of_file,
    )


def count_others(files: list[str], suffix: str | tuple, findings: Findings) -> None:
    """Count the pictures with another suffix, such as .JPG."""
    kind = filled(OTHER_SUFFIX, suffix=str(suffix))
    for file in files:
        ending = os.path.splitext(file)[1].lower()
        is_picture = ending in PICTURE_SUFFIXES | UNREAD_SUFFIXES
        if is_picture and not file.endswith(suffix):
            findings.add(kind, repr(file))


def fault_of_mode(source: DataSource, mode: str, labels: np.ndarray) -> Kind | None:
    """What is wrong with the channels of a map."""
    if mode == 'F':
        return REAL
    backend = source.step('LoadAnnotations').get('imdecode_backend', 'pillow')
    if mode == 'P' and backend != 'pillow':
        return Kind(
            'opened label maps',
            f'with a palette, of which imdecode_backend={backend!r} reads the colours',
            "leave imdecode_backend of LoadAnnotations at 'pillow'",
        )
    if mode.split(';')[0] in ONE_CHANNEL:
        return None
    channels = labels[..., :-1] if mode in ('LA', 'RGBA', 'PA') else labels
    if labels.ndim == 3 and (channels == channels[..., :1]).all():
        return filled(COPIES, mode=mode)
    return filled(COLORS, mode=mode)


def reduces(source: DataSource) -> bool:
    """Whether 0 becomes unlabelled and the other labels count from 1."""
    given = list(find_settings('reduce_zero_label', source.settings))
    if given or source.kind is None:
        return any(given)
    of_class = inspect.signature(source.kind).parameters.get('reduce_zero_label')
    return bool(of_class and of_class.default)


def as_trained(labels: Counter[int], reduced: bool) -> Counter[int]:
    """Pixels by class, after `reduce_zero_label`.

    Example:
        >>> as_trained(Counter({0: 5, 1: 7}), reduced=True)
        Counter({0: 7, 255: 5})
    """
    if not reduced:
        return labels
    return Counter(
        {IGNORED if one in (0, IGNORED) else one - 1: n for one, n in labels.items()}
    )


def ignored_labels(source: DataSource) -> set[int]:
    """The labels that are not trained."""
    return {IGNORED, *find_settings('ignore_index', source.cfg.to_dict())}


def beyond_classes(source: DataSource, label: int) -> Kind:
    """The kind of a label without a class."""
    count, reduced = len(source.known or source.classes or ()), reduces(source)
    numbered = 'from 1, as reduce_zero_label is set' if reduced else 'from 0'
    return Kind(
        'opened label maps',
        f'that hold the label {label + reduced} or others beyond the {count} classes, '
        f'numbered {numbered}',
        'fix the maps, metainfo.classes or ignore_index',
    )
