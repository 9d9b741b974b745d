"""From what a user calls a source to its pictures, read one at a time."""

import codecs
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from glob import glob, has_magic
from itertools import count as count_up
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmpatchconvnet.inference.pictures import (
    Array,
    Picture,
    PictureError,
    Scale,
    from_array,
    read_picture,
)

PICTURES = re.compile(
    r'\.(bmp|dib|gif|jfif|jp2|jpe|jpe?g|p[bgp]m|png|tiff?|webp)', re.IGNORECASE
)
log = logging.getLogger(__name__)
VIDEOS = re.compile(r'\.(avi|m4v|mkv|mov|mp4|mpe?g|webm)', re.IGNORECASE)


class Source:
    """Pictures, each read when the loop reaches it.

    Args:
        readers: Functions that return a picture or raise `PictureError`.
        count: How many there are, or None if this is unknown.
    """

    def __init__(
        self, readers: Iterable[Callable[[], Picture]], count: int | None
    ) -> None:
        self.readers, self.count = readers, count

    def __iter__(self) -> Iterator[Picture | PictureError]:
        """The pictures in order; of one that cannot be read, the error."""
        seen_dark = False
        for read in self.readers:
            try:
                picture = read()
            except PictureError as error:
                yield error
                continue
            if not seen_dark and is_dark(picture):
                seen_dark = True
                log.warning(
                    '%s has 16 bits and no value above %d, so the model sees it nearly '
                    'black: if the model was trained on brighter pictures, use --scale '
                    '0 %d.',
                    picture.file,
                    picture.intensity.max(),
                    picture.intensity.max(),
                )
            yield picture


def is_dark(picture: Picture) -> bool:
    """Whether it has 16 bits and a model sees nearly black, as from 12-bit cameras."""
    if picture.intensity.dtype != np.uint16:
        return False
    return picture.intensity.max() > 0 and picture.image.max() < 16


def open_source(
    source: Any,
    recursive: bool = False,
    scale: Scale | None = None,
    skip: Sequence[Path] = (),
) -> Source:
    """Find the pictures of a source.

    Args:
        source: One of

            - a picture file,
            - a folder: its pictures in natural order, without hidden ones,
            - a glob such as `'day */*.tif'`, `**` for any folders,
            - a text file (`.txt`) with one path a line, relative to itself,
            - a video, frame by frame,
            - an array (H, W), (H, W, 3) BGR or (H, W, 4) BGRA,
            - a list, tuple or iterator of arrays and picture files.
        recursive: Read the folders within a folder too.
        scale: Stored values that become black and white; see `read_picture`.
        skip: Folders that are left out where they lie within the source, such as
            drawings of an earlier run.

    Raises:
        ValueError: There is no such source, or no picture in it.
    """
    if scale is not None and not -np.inf < scale[0] < scale[1] < np.inf:
        raise ValueError(
            f'scale is {scale[0]:g} to {scale[1]:g}: give the value of black, then a '
            'higher one of white.'
        )
    if isinstance(source, np.ndarray):
        source = [source]
    if not isinstance(source, (str, os.PathLike)):
        items = (_reader(item, number, scale) for number, item in enumerate(source))
        return Source(items, len(source) if hasattr(source, '__len__') else None)
    path = Path(source)
    if VIDEOS.fullmatch(path.suffix) and path.is_file():
        return open_video(path)
    files, base = list_files(path, recursive, skip)
    if not files:
        hint = (
            'give one of its folders, or --recursive'
            if path.is_dir() and not recursive
            else 'give a file, folder or glob of pictures'
        )
        raise ValueError(f'{source} has no pictures: {hint}.')
    readers = [
        partial(_read, file, scale, os.path.relpath(file, base)) for file in files
    ]
    return Source(readers, len(readers))


def _read(content: Path | Array, scale: Scale | None, name: str) -> Picture:
    """Read a file, or take an array, under a name for its results."""
    if isinstance(content, Path):
        picture = read_picture(content, scale)
    else:
        picture = from_array(content, name.replace('_', ' '), scale)
    picture.relative = name
    return picture


def _reader(item: Any, number: int, scale: Scale | None) -> Callable[[], Picture]:
    """Reads one item of a list."""
    if isinstance(item, (str, os.PathLike)):
        return partial(_read, Path(item), scale, f'{number}_{Path(item).name}')
    # A copy, as a camera may write the next picture over this one.
    return partial(_read, np.array(item), scale, f'array_{number}')


def list_files(
    path: Path, recursive: bool, skip: Sequence[Path] = ()
) -> tuple[list[Path], Path]:
    """The files of a source in natural order, and the folder that holds them all.

    Raises:
        ValueError: There is no such file or folder.
    """
    if path.is_dir():
        found = path.rglob('*') if recursive else path.iterdir()
        visible = (
            file
            for file in found
            if not any(part[0] == '.' for part in file.relative_to(path).parts)
        )
        here = path.resolve()
        within = [x for x in skip if here in x.resolve().parents]
        return _pictures(visible, within), path
    if path.is_file() and path.suffix.lower() != '.txt':
        return [path], path.parent
    if path.is_file():
        lines = [line.strip() for line in _text_of(path).splitlines()]
        files = [path.parent / line for line in lines if line and line[0] != '#']
    elif has_magic(str(path)):
        files = _pictures(map(Path, glob(str(path), recursive=True)), skip)
    else:
        raise ValueError(
            f'{path} does not exist: give a picture, folder, glob, list or video.'
        )
    parents = [os.path.abspath(file.parent) for file in files]
    return files, Path(os.path.commonpath(parents)) if parents else path.parent


def _text_of(path: Path) -> str:
    """The text of a list, in any encoding that file names or Notepad have."""
    content = path.read_bytes()
    if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return content.decode('utf-16')
    return os.fsdecode(content.removeprefix(codecs.BOM_UTF8))


def _pictures(files: Iterable[Path], skip: Iterable[Path]) -> list[Path]:
    """The picture files that are not in the folders `skip`, by name, 9 before 10."""
    skipped = {folder.resolve() for folder in skip}
    found = [
        file
        for file in files
        if PICTURES.fullmatch(file.suffix)
        and not file.is_dir()
        and skipped.isdisjoint(file.resolve().parents)
    ]

    def key(file: Path) -> list:
        parts = re.split(r'(\d+)', str(file).lower())
        return [int(part) if part.isdecimal() else part for part in parts]

    return sorted(found, key=key)


def open_video(path: Path) -> Source:
    """The frames of a video.

    Raises:
        ValueError: OpenCV cannot decode it.
    """
    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise ValueError(
            f'{path} cannot be decoded by OpenCV: convert it, for example to MP4 with '
            'H.264.'
        )

    def read_frame(frame: Array, number: int) -> Picture:
        picture = from_array(frame, f'{path}#{number}')
        picture.relative = f'{path.stem}_{number:06}'
        return picture

    def stop(number: int) -> Picture:
        raise PictureError(
            f'{path} stops after {number} of its {count} frames: copy it again, or '
            'convert it.'
        )

    def readers() -> Iterator[Callable[[], Picture]]:
        for number in count_up():
            is_read, frame = video.read()
            if not is_read:
                break
            yield partial(read_frame, frame, number)
        if number < 0.95 * count:  # in some formats the count is an estimate
            yield partial(stop, number)

    count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    return Source(readers(), count if count > 0 else None)
