"""What the checks of every layout of data have in common.

A layout lists the pictures of a data set and looks into single files. All files must
exist and hold something. Before training only a few are opened; `mmpatchconvnet check`
decodes all of them.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.registry import TRANSFORMS, DefaultScope

from mmpatchconvnet.data_checks.findings import Findings, Kind
from mmpatchconvnet.data_checks.picture_files import (
    Header,
    bits_of,
    evenly,
    read_header,
    why_absent,
    why_broken,
    why_undecodable,
    why_unread,
)
from mmpatchconvnet.data_checks.sources import DataSource
from mmpatchconvnet.pillow_limit import unlimited_pillow

MAX_LOOKED_FOR = 20_000  # files of a data set that must exist before training
MAX_OPENED = 64  # files of a data set that are opened before training
SKIP = 'copy it again, remove it, or train with --skip-bad-files'
# How a sentence on several files says what `picture_files` says of one.
OF_SEVERAL = {
    'does not exist': 'missing',
    'is an empty file': 'of 0 bytes',
    'is not a file': 'that are no files',
}
DEEP = Kind(
    'opened pictures',
    'of 16 bits, of which loading keeps the upper 8 (a value of 255 becomes 0)',
    'spread the values over 16 bits, convert them to 8, or load them as they are with '
    "color_type='unchanged' and set data_preprocessor.mean and std",
    stops=False,
)
Track = Callable[[list], Iterable]
Load = Callable[[dict], Any]  # a step of a pipeline
Examined = tuple[str | None, Header | None]  # why it cannot be read, its header


@dataclass(frozen=True)
class DataFile:
    """A picture of a data set.

    Attributes:
        name: Its path within the data set.
        path: Its path.
        label_map: The path of its label map, if it has one.
        entry: Its entry in a COCO file.
        label: The name of its class, if it has one.
    """

    name: str
    path: Path
    label_map: Path | None = None
    entry: dict[str, Any] | None = None
    label: str | None = None


class Layout:
    """A way to store a data set; a subclass is one that can be checked.

    Args:
        source: The data set.
        title: The file or folder with which its sentences begin.
        whole: Whether all files are decoded, or a few are opened.

    Attributes:
        findings: The faults.
        files: The pictures.
        sizes: Width and height of the opened pictures, as loaded.
    """

    missing = 'add it, or fix data_prefix'
    counted = 'pictures'  # what `class_counts` counts

    def __init__(
        self, source: DataSource, title: str | Path, whole: bool = False
    ) -> None:
        self.source, self.whole = source, whole
        self.findings = Findings(f'{str(title)!r} of {source.name}')
        self.files: list[DataFile] = []
        self.sizes: list[tuple[int, int]] = []

    def list_files(self) -> list[DataFile]:
        """The pictures; faults of the layout itself are added to the findings."""
        raise NotImplementedError

    def look_into(self, file: DataFile, header: Header | None) -> None:
        """Find the faults of one file and of what belongs to it."""

    def conclude(self, opened: list[DataFile]) -> None:
        """Find what only many files show, after some were opened."""

    def class_counts(self) -> dict[str, int]:
        """How many pictures, objects or pixels each class has, after `check`."""
        raise NotImplementedError

    def check(self, track: Track = list) -> Findings:
        """Find all faults.

        Args:
            track: Wraps the list of files that are opened, to show progress.
        """
        self.files = self.list_files()
        present = self._present()
        if not self.whole:
            present = evenly(present, MAX_OPENED)
        examine: Callable[[DataFile], Examined] = examine_ends
        if self.whole:
            examine = partial(examine_whole, load=self._loader())
        # Only one thread may change Pillow's limit.
        with unlimited_pillow(), ThreadPoolExecutor() as pool:
            try:
                self._open(track(present), pool.map(examine, present))
            finally:
                pool.shutdown(cancel_futures=True)  # at Ctrl-C, the files not yet read
        return self.findings

    def _present(self) -> list[DataFile]:
        """The pictures that exist and hold something; before training, of some."""
        present = []
        for file in self.looked_for(self.files):
            why = why_absent(file.path)
            if why is None:
                present.append(file)
            else:
                self.blame('pictures', why, file.path, file.name)
        return present

    def looked_for(self, files: list[DataFile]) -> list[DataFile]:
        """The files of which it is checked whether they exist."""
        return files if self.whole else evenly(files, MAX_LOOKED_FOR)

    def _open(
        self,
        files: Iterable[DataFile],
        examined: Iterator[Examined],
    ) -> None:
        opened, cuts = [], self.source.keeps_8_bits()
        for file, (why, header) in zip(files, examined, strict=True):
            self.findings.totals['opened pictures'] += 1
            if why:
                self.blame('opened pictures', why, file.path, file.name)
                continue
            if header:
                self.sizes.append(header.loaded_size(self.source.orients()))
            if cuts and bits_of(file.path) == 16:
                self.findings.add(DEEP, repr(file.name))
            self.look_into(file, header)
            opened.append(file)
        self.conclude(opened)

    def blame(self, things: str, why: str, path: Path, name: str) -> None:
        """Add a file that cannot be read."""
        remedy = self.missing if why == 'does not exist' else SKIP
        what, _, reason = why.partition(' (')  # reasons differ, the kind does not
        kind = Kind(things, OF_SEVERAL.get(what, f'that {what}'), remedy, of_file=True)
        place = (
            f'{str(path)!r}, {reason.removesuffix(")")}' if reason else repr(str(path))
        )
        self.findings.add(kind, place, name)

    def _loader(self) -> Load | None:
        """The step that reads a picture in the pipeline."""
        step = self.source.step('LoadImageFromFile')
        if not step:
            return None
        with DefaultScope.overwrite_default_scope(self.source.scope):
            return TRANSFORMS.build(step)


def examine_ends(file: DataFile) -> Examined:
    """Why a file is truncated, or its header."""
    return why_broken(file.path), read_header(file.path)


def examine_whole(file: DataFile, load: Load | None) -> Examined:
    """Why a file cannot be decoded, or its header.

    Args:
        file: The file.
        load: Reads formats that Pillow does not read as the pipeline does.
    """
    header = read_header(file.path)
    if header is not None or load is None:
        return why_undecodable(file.path), header
    try:
        height, width = load(dict(img_path=str(file.path)))['img'].shape[:2]
    except Exception as error:  # of many kinds, from damaged files
        return why_unread(error, file.path), None
    return None, Header(width, height, 'loaded')
