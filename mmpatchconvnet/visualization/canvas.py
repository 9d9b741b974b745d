"""A page of pictures and text.

numpy copies the pictures to their pixels, and matplotlib draws all text on one figure
of the same size: letters are sharp, and pictures are not resampled.
"""

import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

from mmpatchconvnet.atomic_files import atomic_write

Array = np.ndarray
Color = tuple[float, float, float]

INK: Color = (0.13, 0.14, 0.16)
GREY: Color = (0.42, 0.44, 0.48)
DPI = 100


@dataclass(frozen=True)
class Text:
    """One line of text; `x` and `y` are its left end and its middle, in pixels."""

    x: float
    y: float
    text: str
    size: float = 13
    color: Color = INK
    bold: bool = False
    background: Color | None = None


@dataclass
class Page:
    """A white page as high as what is placed on it, y pointing down."""

    width: int
    height: int = 0
    texts: list[Text] = field(default_factory=list)
    pictures: list[tuple[Array, int, int]] = field(default_factory=list)

    def render(self) -> Array:
        """The pictures, placed by (left, top), and the text over them.

        Returns:
            (height, width, 3) uint8 RGB.
        """
        pixels = np.full((self.height, self.width, 3), 255, np.uint8)
        for image, x, y in self.pictures:
            pixels[y : y + len(image), x : x + image.shape[1]] = image
        # A hundredth of a pixel more, so that rounding does not drop the last pixel.
        size = ((self.width + 0.01) / DPI, (self.height + 0.01) / DPI)
        figure = Figure(figsize=size, dpi=DPI)
        figure.figimage(pixels)
        for text in self.texts:
            figure.text(
                text.x / self.width,
                1 - text.y / self.height,
                text.text,
                fontsize=text.size * 72 / DPI,
                color=text.color,
                fontweight='bold' if text.bold else 'normal',
                verticalalignment='center_baseline',
                parse_math=False,
                bbox=text.background
                and dict(facecolor=text.background, edgecolor='none', pad=1.2),
            )
        return render(figure)


def render(figure: Figure) -> Array:
    """The pixels of a figure, (H, W, 3) uint8 RGB."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


@lru_cache(maxsize=4096)
def text_width(text: str, size: float) -> float:
    """Width in pixels of a line set at `size` pixels."""
    if not text.strip():
        return 0
    no_formula = text.replace('$', r'\$')
    return TextPath((0, 0), no_formula, size=size).get_extents().width


def shorten(text: str, width: float, size: float) -> str:
    """The text, cut to `width` pixels with an ellipsis if it is longer."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + '…', size) > width:
        text = text[:-1].rstrip()
    return text + '…'


def save_image(path: str | os.PathLike, array: Array) -> None:
    """Write an RGB picture (H, W, 3) uint8; the file is complete or absent."""
    path = Path(path)
    if path.suffix.lower() not in ('.png', '.jpg', '.jpeg', '.webp'):
        raise ValueError(
            f"cannot write a picture as '{path.name}': use .png, .jpg or .webp"
        )
    _, data = cv2.imencode(path.suffix, cv2.cvtColor(array, cv2.COLOR_RGB2BGR))
    atomic_write(path, data.tobytes())
