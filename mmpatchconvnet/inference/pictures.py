"""Read one picture of any usual format and depth.

A model sees what its training saw: pictures are decoded by OpenCV, as the hosts'
`LoadImageFromFile` does it. What OpenCV cannot decode is left to Pillow.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps

Array = np.ndarray
Scale = tuple[float, float] | None
DARK = 16  # of 255: 16-bit pictures from cameras of 12 bits are no brighter
SILENT = 0  # OpenCV's log level


class PictureError(ValueError):
    """A picture that cannot be read, explained in one sentence."""


@dataclass
class Picture:
    """A picture as models and people see it.

    Attributes:
        file: Its path, or a name such as `film.mp4#12` or `array 0`.
        relative: A path for its results: below the folder it came from, with suffix.
        image: (H, W, 3) uint8 BGR.
        intensity: (H, W): the stored values of a gray picture, or the luma of a colour
            picture in its stored depth.
    """

    file: str
    relative: str
    image: Array
    intensity: Array

    @property
    def is_dark(self) -> bool:
        """Whether it has 16 bits and nearly all that a model sees is black."""
        return self.intensity.dtype == np.uint16 and self.image.max() < DARK


def read_picture(path: str | Path, scale: Scale = None, relative: str = '') -> Picture:
    """Read a file: JPEG, PNG, TIFF, WebP, BMP and what else OpenCV and Pillow know.

    The rotation of EXIF is applied, and of several pages the first is read. Without
    `scale`, 8 bits stay as they are, and of 16 bits the upper 8 are seen, as OpenCV
    does it in training.

    Args:
        path: The file.
        scale: Stored values that become black and white; the values between are spread
            evenly. Real numbers need it unless they are within 0..1 or 0..255.
        relative: See `Picture`; the name of the file by default.

    Raises:
        PictureError: It cannot be read, is truncated, or needs a scale.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PictureError(
            f'{path} cannot be read ({error.strerror}): give a file that exists.'
        ) from None
    if not data:
        raise PictureError(f'{path} is empty: copy it again or remove it.')
    stored = _decode(data)
    if stored is None:
        raise PictureError(
            f'{path} is truncated or no picture of a known format: give a JPEG, PNG, '
            'TIFF, WebP or BMP file.'
        )
    picture = to_picture(stored, str(path), relative or path.name, scale)
    if stored.dtype == np.uint16 and scale is None:
        # OpenCV rounds the colours of a TIFF, but not those of a PNG.
        seen = _decode(data, cv2.IMREAD_COLOR)
        picture.image = picture.image if seen is None else seen
    return picture


def to_picture(stored: Array, file: str, relative: str, scale: Scale = None) -> Picture:
    """A picture from stored values.

    Args:
        stored: (H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA, of bool, integers or
            real numbers.
        file: See `Picture`.
        relative: See `Picture`.
        scale: See `read_picture`.

    Raises:
        PictureError: Another shape or type, or numbers that need a scale.
    """
    if stored.ndim == 3 and stored.shape[2] == 1:
        stored = stored[..., 0]
    channels = stored.shape[2] if stored.ndim == 3 else 1
    if stored.ndim not in (2, 3) or channels not in (1, 3, 4) or not stored.size:
        raise PictureError(
            f'{file} has shape {stored.shape}: give (height, width) or (height, width, '
            'channels) with 1, 3 or 4 channels.'
        )
    if stored.dtype == bool:
        stored = stored.astype(np.uint8) * 255
    if stored.dtype.kind not in 'uif':
        raise PictureError(
            f'{file} holds {stored.dtype}: give bool, integers or real numbers.'
        )
    stored = stored[..., :3] if stored.ndim == 3 else stored
    image = _to_bytes(stored, file, scale)
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        intensity = stored
    elif stored.dtype in (np.uint8, np.uint16, np.float32):
        intensity = cv2.cvtColor(np.ascontiguousarray(stored), cv2.COLOR_BGR2GRAY)
    else:
        intensity = stored @ np.array([0.114, 0.587, 0.299])  # of blue, green and red
    return Picture(file, relative, np.ascontiguousarray(image), intensity)


def _to_bytes(stored: Array, file: str, scale: Scale) -> Array:
    """Stored values as uint8, by the rules of `read_picture`."""
    if scale is None:
        if stored.dtype == np.uint8:
            return stored
        if stored.dtype == np.uint16:
            return (stored >> 8).astype(np.uint8)
        darkest, brightest = np.nanmin(stored), np.nanmax(stored)
        if not 0 <= darkest <= brightest <= 255:
            raise PictureError(
                f'{file} holds {stored.dtype} from {darkest:g} to {brightest:g}: say '
                'which values are black and white, with --scale MIN MAX.'
            )
        is_unit = stored.dtype.kind == 'f' and brightest <= 1
        scale = (0, 1) if is_unit else (0, 255)
    black, white = scale
    spread = (stored.astype(np.float32) - black) * (255 / (white - black))
    return np.nan_to_num(spread).clip(0, 255).round().astype(np.uint8)


def check_scale(scale: Scale) -> None:
    """Raise `ValueError` unless black comes before white."""
    if scale is not None and not scale[0] < scale[1]:
        raise ValueError(
            f'scale is {scale[0]:g} to {scale[1]:g}: give the value of black, then a '
            'higher one of white.'
        )


def _decode(
    data: bytes, flags: int = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
) -> Array | None:
    """Stored values (H, W) or (H, W, 3) BGR; None if the picture is not whole.

    From memory, unlike from a path, OpenCV decodes no truncated file in part.
    """
    with _without_opencv_log():
        try:
            stored: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error:  # too large for OpenCV, for example
            stored = None
    return _decode_with_pillow(data) if stored is None else stored


def _decode_with_pillow(data: bytes) -> Array | None:
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(io.BytesIO(data)) as opened:
            picture = ImageOps.exif_transpose(opened)
            if picture.mode[0] in 'IF':  # more than 8 bits
                return np.asarray(picture)
            return np.asarray(picture.convert('RGB'))[..., ::-1]
    except Exception:  # of any decoder
        return None
    finally:
        Image.MAX_IMAGE_PIXELS = limit


@contextmanager
def _without_opencv_log() -> Iterator[None]:
    """Keep OpenCV from printing what `PictureError` says."""
    level = cv2.setLogLevel(SILENT)
    try:
        yield
    finally:
        cv2.setLogLevel(level)
