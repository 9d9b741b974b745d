"""Read a picture as the training pipelines read it, and the values that it stores.

OpenCV comes first, because the pipelines that trained the model use it. PIL and, if it
is installed, tifffile read what OpenCV cannot.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from mmpatchconvnet.pillow_limit import unlimited_pillow

Array = np.ndarray
Scale = tuple[float, float]

TIFF_STARTS = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
OPENCV_LOG: Any = getattr(cv2.utils, 'logging', cv2)  # moved in OpenCV 5
SETTINGS = Lock()  # OpenCV's log level and Pillow's limit are those of the process
BITS_PER_SAMPLE, PLANAR_CONFIGURATION = 258, 284


class PictureError(ValueError):
    """A picture that cannot be read: the file, the reason and what to do."""


@dataclass
class Picture:
    """A picture in memory.

    Attributes:
        file: Its path, or a name such as `video.mp4#12` or `array 0`.
        image: (H, W, 3) uint8 BGR, contiguous: what `LoadImageFromFile` gives, where
            that can read the file.
        intensity: The brightness of each pixel, (H, W): the stored values of a gray
            picture (uint8, uint16, float, rarely another integer), or the luma (uint8)
            of a colour picture.
        relative: The path below the source that it comes from, to name outputs by.
    """

    file: str
    image: Array
    intensity: Array
    relative: str


def read_picture(path: str | os.PathLike, scale: Scale | None = None) -> Picture:
    """Read a JPEG, PNG, TIFF, BMP, WebP or other picture file.

    A picture is turned by its EXIF orientation wherever OpenCV does that, and alpha is
    dropped. Of a file with several pages, only the first is read. Values that need more
    than 8 bits become uint8 as follows:

    - 16 bits without `scale`: value / 256, as in training;
    - floats without `scale`: those within 0..1 times 255, those within 0..255 as they
      are, others raise an error, and so do integers of 32 bits beyond 0..255;
    - with `scale`: MIN..MAX linearly to 0..255, clipped.

    Args:
        path: The file.
        scale: MIN and MAX, stored values that become black and white. Pictures of 8
            bits are not changed by it.

    Raises:
        PictureError: If the file is missing, empty, truncated or not a picture, or
            needs a scale.
    """
    file = str(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise PictureError(
            f'{file} cannot be opened ({error.strerror}): give a picture file that '
            'exists and that you may read.'
        ) from None
    return decode_picture(data, file, scale)


def decode_picture(data: bytes, file: str, scale: Scale | None = None) -> Picture:
    """The picture in the content of a file; see `read_picture`.

    Args:
        data: The content.
        file: What to call it.
        scale: As for `read_picture`.

    Raises:
        PictureError: As `read_picture`.
    """
    if not data:
        raise PictureError(f'{file} is an empty file: copy it again or remove it.')
    stored = _decode(file, data, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    if stored is None or _is_misread(stored, data):
        stored = _read_without_opencv(file, data)
    image = None
    if scale is None and stored.dtype in (np.uint16, np.int16):
        # OpenCV's own conversion, which differs from ours by its rounding and alpha.
        image = _decode(file, data, cv2.IMREAD_COLOR)
    return _to_picture(stored, file, Path(file).name, scale, image)


def from_array(array: Array, name: str, scale: Scale | None = None) -> Picture:
    """A picture from values in memory; see `read_picture` for those beyond 8 bits.

    Args:
        array: (H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA of uint8, uint16, bool
            or float.
        name: What to call it.
        scale: As for `read_picture`.

    Raises:
        PictureError: If shape, dtype or range are others.
    """
    return _to_picture(np.asarray(array), name, name, scale)


def _to_picture(
    stored: Array,
    file: str,
    relative: str,
    scale: Scale | None,
    image: Array | None = None,
) -> Picture:
    if stored.ndim not in (2, 3) or stored.shape[2:] not in ((), (1,), (3,), (4,)):
        raise PictureError(
            f'{file} has shape {stored.shape}: give a gray picture (H, W), or a colour '
            'picture (H, W, 3) or (H, W, 4).'
        )
    if stored.dtype.kind not in 'buif' or not stored.size:
        raise PictureError(
            f'{file} has {stored.size} values of {stored.dtype}: give pixels of uint8, '
            'uint16, bool or float.'
        )
    is_gray = stored.shape[2:] in ((), (1,))
    stored = stored.reshape(stored.shape[:2]) if is_gray else stored[..., :3]
    stored = np.ascontiguousarray(stored, stored.dtype.newbyteorder('='))
    if stored.dtype == bool:
        stored = stored * np.uint8(255)
    if image is None:
        image = _to_uint8(stored, file, scale)
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if is_gray else image
    intensity = stored if is_gray else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return Picture(file, image, intensity, relative)


def _to_uint8(values: Array, file: str, scale: Scale | None) -> Array:
    if values.dtype == np.uint8:
        return values
    if scale is None and values.dtype == np.uint16:
        return (values >> 8).astype(np.uint8)
    black, white = _range_of(values, file) if scale is None else scale
    scaled = np.subtract(values, black, dtype=np.float32)
    scaled *= 255 / (white - black)
    np.clip(scaled, 0, 255, out=scaled)
    return np.nan_to_num(np.rint(scaled, out=scaled), copy=False).astype(np.uint8)


def _range_of(values: Array, file: str) -> Scale:
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0, 0)
    if low >= 0 and high <= 1 and values.dtype.kind == 'f':
        return 0, 1
    if low >= 0 and high <= 255:
        return 0, 255
    raise PictureError(
        f'{file} has {values.dtype} values from {low:g} to {high:g}: say which become '
        f'black and white, for example --scale {low:g} {high:g}, in Python '
        f'scale=({low:g}, {high:g}).'
    )


def _decode(file: str, data: bytes, flags: int) -> Array | None:
    """What OpenCV reads, None if it cannot.

    Given bytes instead of a path, OpenCV refuses a truncated JPEG.
    """
    try:
        with SETTINGS, quiet_opencv():  # the error that we raise says it in one line
            return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if 'MAX_IMAGE' not in str(error):
            return None
        raise PictureError(
            f'{file} has more pixels than OpenCV reads: cut it into smaller pictures, '
            'or set OPENCV_IO_MAX_IMAGE_PIXELS to a larger number.'
        ) from None


@contextmanager
def quiet_opencv() -> Iterator[None]:
    level = OPENCV_LOG.getLogLevel()
    OPENCV_LOG.setLogLevel(0)
    try:
        yield
    finally:
        OPENCV_LOG.setLogLevel(level)


def _is_misread(stored: Array, data: bytes) -> bool:
    """Whether OpenCV mixed up the pixels, as it does for 16-bit colours in planes."""
    if stored.dtype == np.uint8 or stored.ndim == 2 or data[:4] not in TIFF_STARTS:
        return False
    if data[:4] == b'MM\0+':  # PIL cannot parse it
        return True
    is_big = data[2:3] == b'+'
    tags = ImageFileDirectory_v2(data[: 16 if is_big else 8])
    file = io.BytesIO(data)
    file.seek(tags.next)
    tags.load(file)
    return tags.get(PLANAR_CONFIGURATION) == 2


def _read_without_opencv(file: str, data: bytes) -> Array:
    """The stored values, (H, W), (H, W, 3) BGR or (H, W, 4) BGRA."""
    is_tiff = data[:4] in TIFF_STARTS
    reasons = []
    for read in [_read_by_pil, _read_by_tifffile] if is_tiff else [_read_by_pil]:
        try:
            return read(data)
        except UnidentifiedImageError:
            reasons.append('not a format that OpenCV or PIL knows')
        except Exception as error:  # of many kinds, from damaged files
            reasons.append(str(error))
    raise PictureError(
        f'{file} cannot be read ({"; ".join(reasons)}): give a complete JPEG, PNG, '
        'TIFF, BMP or WebP file.'
    )


def _read_by_pil(data: bytes) -> Array:
    with SETTINGS, unlimited_pillow(), Image.open(io.BytesIO(data)) as opened:
        bits = getattr(opened, 'tag_v2', {}).get(BITS_PER_SAMPLE, ())
        if opened.mode[0] != 'I' and (16 in bits or ';16' in str(opened.tile)):
            raise ValueError('PIL reads only 8 of the 16 bits of colours')
        image = ImageOps.exif_transpose(opened)
    if image.mode in ('1', 'L', 'F', 'I') or image.mode.startswith('I;16'):
        return np.asarray(image)
    return np.asarray(image.convert('RGB'))[..., ::-1]


def _read_by_tifffile(data: bytes) -> Array:
    try:
        import tifffile
    except ImportError:
        raise ValueError('the package tifffile would be needed') from None

    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page = tiff.pages[0]
        values = page.asarray()
        if page.photometric == tifffile.PHOTOMETRIC.MINISBLACK:
            return values
        if page.photometric != tifffile.PHOTOMETRIC.RGB:
            raise ValueError(f'colours are stored as {page.photometric.name}')
        if page.axes == 'SYX':
            values = np.moveaxis(values, 0, -1)
        return np.concatenate([values[..., 2::-1], values[..., 3:]], axis=-1)
