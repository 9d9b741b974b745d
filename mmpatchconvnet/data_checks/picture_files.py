"""Picture files: what their header says, and whether they are whole."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from mmpatchconvnet.pillow_limit import unlimited_pillow

# The last bytes of a whole file; what follows them is rare, such as a second picture.
ENDS = {
    b'\xff\xd8\xff': b'\xff\xd9',  # JPEG
    b'\x89PNG\r\n\x1a\n': b'IEND\xaeB`\x82',
}
# Formats of which Pillow tells the size as others do, and notices missing parts.
BY_PILLOW = ('JPEG', 'PNG', 'BMP', 'GIF', 'WEBP')
PICTURE_SUFFIXES = {
    *('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.gif', '.ppm'),
    *('.pgm', '.jp2'),
}
# Formats of pictures that OpenCV does not read.
UNREAD_SUFFIXES = {
    *('.heic', '.heif', '.avif', '.jxl', '.jfif', '.tga', '.psd', '.svg', '.dng'),
    *('.cr2', '.cr3', '.nef', '.arw', '.orf', '.rw2', '.raw', '.dcm', '.npy', '.czi'),
}
BITS_PER_SAMPLE = 258  # the TIFF tag
ORIENTATION = 0x0112  # the EXIF tag
TURNED = (5, 6, 7, 8)  # by a quarter: width and height change places


@dataclass(frozen=True)
class Header:
    """Width and height of the stored pixels, Pillow's mode, and the EXIF orientation
    (1 to 8, 1 if there is none)."""

    width: int
    height: int
    mode: str
    orientation: int = 1

    def loaded_size(self, orients: bool) -> tuple[int, int]:
        """Width and height once loaded by a step that `orients` pictures or does not.

        Example:
            >>> Header(640, 480, 'RGB', 6).loaded_size(orients=True)
            (480, 640)
        """
        if orients and self.orientation in TURNED:
            return self.height, self.width
        return self.width, self.height


def read_header(path: str | os.PathLike) -> Header | None:
    """The header of a file, None if it is none of `BY_PILLOW`; no pixel is decoded.

    What Pillow makes of a TIFF of many bands or pages differs from what others do, and
    so does an orientation in a WebP file or in XMP, which OpenCV does not see.
    """
    try:
        with unlimited_pillow(), Image.open(path, formats=BY_PILLOW) as picture:
            orientation = picture.getexif().get(ORIENTATION, 1)
            if orientation != 1 and not _has_exif(picture):
                return None
            width, height = picture.size
            return Header(width, height, picture.mode, orientation)
    except Exception:  # of many kinds, from damaged files
        return None


def bits_of(path: str | os.PathLike) -> int:
    """Bits of a value of a PNG or TIFF file, 8 for any other one."""
    try:
        with open(path, 'rb') as file:
            start = file.read(25)
        if start.startswith(b'\x89PNG'):
            return start[24]
        if start.startswith((b'II*\0', b'MM\0*')):
            with unlimited_pillow(), Image.open(path, formats=['TIFF']) as picture:
                tags: Any = picture
                return max(tags.tag_v2.get(BITS_PER_SAMPLE, (8,)))
    except Exception:  # of many kinds, from damaged files
        return 8
    return 8


def _has_exif(picture: Image.Image) -> bool:
    """Whether OpenCV reads the orientation too."""
    exif = Image.Exif()
    exif.load(picture.info.get('exif') or b'')
    return ORIENTATION in exif and picture.format != 'WEBP'


def why_absent(path: str | os.PathLike) -> str | None:
    """Why there is nothing to read at a path, None if there is."""
    try:
        size = os.stat(path).st_size
    except FileNotFoundError:
        return 'does not exist'
    except OSError as error:
        return f'cannot be opened ({error.strerror})'
    except ValueError as error:  # a name that no file can have
        return f'cannot be opened ({error})'
    if not os.path.isfile(path):
        return 'is not a file'
    return None if size else 'is an empty file'


def why_broken(path: str | os.PathLike) -> str | None:
    """Why a JPEG or PNG file is not whole, None if it is or has another format.

    OpenCV reads a truncated file without an error; the missing part is gray. Only a
    file without the end of its format is decoded here.
    """
    absent = why_absent(path)
    if absent:
        return absent
    try:
        with open(path, 'rb') as file:
            start = file.read(8)
            end = next((e for s, e in ENDS.items() if start.startswith(s)), None)
            if end is None:
                return None
            file.seek(max(0, os.fstat(file.fileno()).st_size - 64))
            if file.read().rstrip(b'\0\r\n ').endswith(end):
                return None
    except OSError as error:
        return f'cannot be opened ({error.strerror})'
    return why_undecodable(path)


def why_undecodable(path: str | os.PathLike) -> str | None:
    """Why Pillow cannot decode all of a picture, None if it can."""
    try:
        with unlimited_pillow(), Image.open(path) as picture:
            picture.load()
    except Exception as error:  # of many kinds, from damaged files
        return why_unread(error, path)
    return None


def why_unread(error: Exception, path: str | os.PathLike) -> str:
    """Why reading a file raised an error."""
    if isinstance(error, UnidentifiedImageError):
        return 'cannot be read (not a picture)'
    line = str(error).strip().partition('\n')[0].replace(repr(str(path)), 'it')
    return f'cannot be read ({line or type(error).__name__})'


def evenly(items: list, count: int) -> list:
    """At most `count` items, spread evenly.

    Example:
        >>> evenly([0, 1, 2, 3, 4, 5], 3)
        [0, 2, 4]
    """
    return items[:: -(-len(items) // count)] if items else items


def is_hidden(relative: str | os.PathLike) -> bool:
    """Whether a relative path lies in a hidden folder, such as .ipynb_checkpoints."""
    return any(part.startswith('.') for part in Path(relative).parts)
