"""Faults of pictures in one folder for each class."""

import os
from collections import Counter
from pathlib import Path

from mmpatchconvnet.data_checks.findings import Kind
from mmpatchconvnet.data_checks.layout import DataFile, Layout
from mmpatchconvnet.data_checks.picture_files import (
    PICTURE_SUFFIXES,
    UNREAD_SUFFIXES,
    is_hidden,
)
from mmpatchconvnet.data_checks.sources import DataSource, list_files_below

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif')
HIDDEN = Kind(
    'folders', 'hidden, which are no classes', 'remove them to be sure', stops=False
)
LEFT_OUT = Kind(
    'files',
    'left out because of their suffix',
    'add it to the extensions of the data set if OpenCV reads it, or convert them',
    stops=False,
)
LOOSE = Kind(
    'loose pictures',
    'that lie in no folder of a class and are left out',
    'move each to the folder of its class, or remove them',
    stops=False,
)
RENAMED = Kind(
    'classes',
    'named otherwise than their folders, which are numbered in alphabetical order',
    'compare the pairs',
    stops=False,
)
EMPTY = Kind('classes', 'without a picture', 'add pictures', stops=False)


class ClassFolders(Layout):
    """Pictures in a local folder for each class, as mmpretrain's `CustomDataset`.

    Classes must be as many as folders, and in their order if they have their names. A
    class may have another name than its folder, e.g. if folders are numbered.
    """

    def __init__(self, source: DataSource, whole: bool = False) -> None:
        self.folder = source.folder('img_path')
        super().__init__(source, self.folder, whole)

    @classmethod
    def fits(cls, source: DataSource) -> bool:
        """Whether a data set has this layout."""
        settings = source.settings
        return (
            not settings.get('ann_file')
            and not settings.get('split')  # of which ImageNet makes an ann_file
            and settings.get('with_label', True)
            and source.loads_by('CustomDataset')
            and source.is_local
            and source.folder('img_path').is_dir()
        )

    def list_files(self) -> list[DataFile]:
        findings, names = self.findings, class_folders(self.folder)
        folders = {path.name for path in self.folder.iterdir() if path.is_dir()}
        findings.totals.update(folders=len(folders), classes=len(names))
        for name in sorted(folders - {*names}):
            findings.add(HIDDEN, repr(name))
        self._check_names(names)
        for one in sorted(self.folder.iterdir()):
            if is_picture(one.name) and not is_hidden(one.name) and one.is_file():
                findings.add(LOOSE, repr(one.name))
        files = self._list_pictures(names)
        findings.totals['pictures'] = len(files)
        for name in sorted({*names} - {file.label for file in files}):
            findings.add(EMPTY, repr(name))
        if not files:
            findings.errors.append(
                f'{findings.title} holds no pictures in folders: give each class a '
                'folder with its pictures.'
            )
        return files

    def class_counts(self) -> dict[str, int]:
        counts = Counter(file.label for file in self.files)
        folders = class_folders(self.folder)
        names = list(self.source.classes or folders)
        if len(names) != len(folders):
            names = folders
        pairs = zip(names, folders, strict=True)
        return {name: counts[label] for name, label in pairs}

    def _check_names(self, folders: list[str]) -> None:
        """Compare `metainfo.classes`, if it is set, with the folders."""
        classes, name = self.source.classes, self.source.name
        if not classes:
            return
        if len(classes) != len(folders):
            self.findings.errors.append(
                f'metainfo.classes of {name} has {len(classes)} names for the '
                f'{len(folders)} folders in {str(self.folder)!r}: give each class a '
                'folder, which may be empty, or fix metainfo.classes.'
            )
            return
        pairs = zip(classes, folders, strict=True)
        if any(one != place and one in folders for one, place in pairs):
            self.findings.errors.append(
                f'metainfo.classes of {name} is {classes}, but labels number the '
                f'folders in {str(self.folder)!r} in alphabetical order: write '
                f'{tuple(folders)}.'
            )
        elif self.whole:  # in training, as with ImageNet, it would be noise
            for one, place in zip(classes, folders, strict=True):
                if one != place:
                    self.findings.add(RENAMED, f'{one!r} is the folder {place!r}')

    def _list_pictures(self, names: list[str]) -> list[DataFile]:
        """The pictures that mmpretrain reads; those it leaves out are counted."""
        extensions = self.source.settings.get('extensions', EXTENSIONS)
        extensions = tuple(one.lower() for one in extensions)
        pictures = []
        for label in names:
            folder = self.folder / label
            for file in list_files_below(folder):
                name = os.path.join(label, file)
                self.findings.totals['files'] += 1
                if is_hidden(file):
                    continue
                if file.lower().endswith(extensions):
                    pictures.append(DataFile(name, folder / file, label=label))
                elif is_picture(file):
                    self.findings.add(LEFT_OUT, repr(name))
        return pictures


def is_picture(file: str) -> bool:
    """Whether the name of a file ends as those of pictures do."""
    return Path(file).suffix.lower() in PICTURE_SUFFIXES | UNREAD_SUFFIXES


def class_folders(folder: Path) -> list[str]:
    """The classes of a folder; mmpretrain ignores hidden ones, see
    `compat.mmpretrain_folders`."""
    names = (path.name for path in folder.iterdir() if path.is_dir())
    return sorted(name for name in names if not name.startswith('.'))
