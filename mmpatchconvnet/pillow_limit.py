"""Pillow's limit on the number of pixels, which is that of the process."""

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image


@contextmanager
def unlimited_pillow() -> Iterator[None]:
    """Let Pillow open pictures of any size, as OpenCV and the hosts do."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
