"""Sheets of a picture with heat maps over it."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import matplotlib
import numpy as np

from mmpatchconvnet.visualization.canvas import (
    GREY,
    INK,
    Array,
    Color,
    Page,
    Text,
    shorten,
    text_width,
)
from mmpatchconvnet.visualization.panels import resize_to
from mmpatchconvnet.visualization.sheets import WRONG

SMALLEST, LARGEST = 360, 4096  # longer side of a picture on a sheet
NARROWEST = 300  # room for a caption
WIDTH = 1500  # of a page with letters of the usual size
NONE, MOST = 'no attention', 'most attention'
NOT_SEEN = '; pale: cut off, not seen'
COLORS = matplotlib.colormaps['inferno']


@dataclass(frozen=True)
class HeatMap:
    """A map (H, W) over a picture, the weight that has the brightest colour, lines."""

    weights: Array
    brightest: float
    caption: Sequence[str]


def draw_heat_maps(
    image: Array,
    maps: Sequence[HeatMap],
    seen: Sequence[float],
    title: str,
    warning: str = '',
) -> Array:
    """Draw a picture, and next to it one copy for each map with the map over it.

    Pictures keep their resolution if their longer side has 360 to 4096 pixels, and are
    scaled to it otherwise.

    Args:
        image: (H, W, 3) uint8 RGB.
        maps: The maps.
        seen: Left, top, right and bottom of what the model sees; the rest is pale.
        title: The headline.
        warning: A line in red below it.

    Returns:
        The page, (H, W, 3) uint8 RGB.
    """
    box = min(max(SMALLEST, *image.shape[:2]), LARGEST)
    panels = [(resize_to(image, box), ['picture'])]
    for one in maps:
        painted = paint_heat(image, one.weights, one.brightest, seen)
        panels.append((resize_to(painted, box), list(one.caption)))
    height, width = panels[0][0].shape[:2]
    room = max(width, NARROWEST)  # captions need some
    across = min(len(panels), max(2, WIDTH // room))
    # Letters grow with a wide page, which is shown at the size of a screen.
    unit = max(1.0, across * room / WIDTH)
    margin, gap, line = (round(unit * size) for size in (24, 12, 22))
    page = Page(2 * margin + across * (room + gap) - gap, margin)
    inner = page.width - 2 * margin

    def write(text: str, size: float, color: Color, x: int = margin) -> None:
        bold, size = size > 13, unit * size
        # Bold letters are wider than `shorten` measures.
        text = shorten(text[:200], 0.87 * inner if bold else room, size)
        page.texts.append(Text(x, page.height, text, size, color, bold))

    write(title, 16, INK)
    page.height += line
    if warning:
        write(warning, 14, WRONG)
        page.height += line
    page.height -= line // 3
    for start in range(0, len(panels), across):
        top = page.height
        for column, (picture, lines) in enumerate(panels[start : start + across]):
            left = margin + column * (room + gap)
            page.pictures.append((picture, left, top))
            for number, text in enumerate(lines):
                page.height = top + height + round((0.7 + number) * line)
                write(text, 13 if number == 0 else 12, GREY if number else INK, left)
        most = max(len(lines) for _, lines in panels[start : start + across])
        page.height = top + height + round((most + 0.7) * line)
    height, width = image.shape[:2]
    is_cut = tuple(seen) != (0, 0, width, height)
    _add_scale(page, margin, unit, NOT_SEEN if is_cut else '')
    page.height += line
    return page.render()


def _add_scale(page: Page, left: int, unit: float, more: str) -> None:
    """The colours from dark to bright, what they mean, and more."""
    size = 12 * unit
    long, high, gap = (round(unit * side) for side in (120, 12, 8))
    bar = np.round(255 * COLORS(np.linspace(0, 1, long))[:, :3]).astype(np.uint8)
    start = left + round(text_width(NONE, size)) + gap
    page.texts.append(Text(left, page.height, NONE, size, GREY))
    page.pictures.append((np.tile(bar, (high, 1, 1)), start, page.height - high // 2))
    end = start + long + gap
    page.texts.append(Text(end, page.height, MOST + more, size, GREY))


def paint_heat(
    image: Array, weights: Array, brightest: float, seen: Sequence[float]
) -> Array:
    """Paint weights (H, W) over a picture (H, W, 3) uint8 RGB in gray.

    What the model does not see, outside of `seen`, stays a plain pale gray.
    """
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    share = np.clip(weights / max(brightest, 1e-12), 0, 1)
    heat = np.round(255 * COLORS(range(256))[:, :3]).astype(np.uint8)
    heat = heat[np.round(255 * share).astype(np.uint8)]
    painted = (0.4 * gray + 0.6 * heat).astype(np.uint8)
    left, top, right, bottom = seen
    height, width = gray.shape[:2]
    x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    unseen = (x < left) | (x > right) | (y < top) | (y > bottom)
    pale = (150 + 0.4 * gray).astype(np.uint8).repeat(3, axis=2)
    painted[unseen] = pale[unseen]
    return painted
