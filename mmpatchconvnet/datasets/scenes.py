"""Small scenes drawn from a seed: the sample data of the demo configs.

A scene shows two to five patterned things (striped balls, sprinkled donuts, veined
leaves, dotted sails, nested stars, checked tiles) that partly hide each other on a
textured ground. Silhouette and pattern determine the class. The first colour of a thing
is near the colour of its class in `PALETTE`; second colour, size, position and rotation
are random. `scene_files.py` writes scenes for detectors, segmentors and classifiers.

A silhouette is a signed distance (https://iquilezles.org/articles/distfunctions2d): one
formula gives the exact mask (below zero), the smooth edge, the rim and the shadow.
"""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

Array = np.ndarray

# ------------------------------------------------------------------------- the classes
# Silhouettes and patterns use a thing's own coordinates, where it fills about [-1, 1].
# A silhouette returns the distance from the outline, negative inside; a pattern the
# share of the thing's second colour, 0..1.


def _five_points(x: Array, y: Array) -> Array:
    fold = np.pi / 5
    angle = np.abs(np.arctan2(x, y) % (2 * fold) - fold)
    # One straight side, from a tip (angle 0) to the notch next to it (angle `fold`).
    return np.hypot(x, y) * np.cos(angle - 1.11) - 0.49


def _crisp(wave: Array) -> Array:
    """A wave around zero as two flat tones with a soft edge."""
    return np.clip(0.5 + 2.5 * wave, 0, 1)


def _stripes(x: Array, y: Array, rng: Generator) -> Array:
    return _crisp(np.sin(rng.uniform(7, 10) * x + rng.uniform(0, 6)))


def _sprinkles(x: Array, y: Array, rng: Generator) -> Array:
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False) + rng.uniform(0, 0.25, 16)
    reach = 0.68 + 0.16 * np.where(np.arange(16) % 2, 1, -1)
    tilt = rng.uniform(0, np.pi, (16, 1, 1))
    dx = x - (reach * np.cos(turn))[:, None, None]
    dy = y - (reach * np.sin(turn))[:, None, None]
    along = np.abs(np.cos(tilt) * dx + np.sin(tilt) * dy)
    across = np.cos(tilt) * dy - np.sin(tilt) * dx
    rods = np.hypot(np.maximum(along - 0.07, 0), across) - 0.065
    return _crisp(-4 * rods.min(axis=0))


def _veins(x: Array, y: Array, rng: Generator) -> Array:
    ribs = np.sin(rng.uniform(12, 15) * (x - 0.8 * np.abs(y)) + rng.uniform(0, 6))
    return np.maximum(_crisp(ribs - 0.45), _crisp(1 - 16 * np.abs(y)))


def _dots(x: Array, y: Array, rng: Generator) -> Array:
    pitch = rng.uniform(0.4, 0.5)
    row = np.round(y / pitch)
    dx = (x / pitch + 0.5 * (row % 2) + 0.5) % 1 - 0.5
    return _crisp(4 * (0.3 - np.hypot(dx, y / pitch - row)))


def _nested(x: Array, y: Array, rng: Generator) -> Array:
    return _crisp(np.sin(rng.uniform(18, 23) * _five_points(x, y)))


def _checks(x: Array, y: Array, rng: Generator) -> Array:
    pitch = rng.uniform(6, 8)
    return _crisp(1.5 * np.sin(pitch * x) * np.sin(pitch * y))


_KINDS: dict[str, tuple[Callable[..., Array], Callable[..., Array]]] = {
    'ball': (lambda x, y: np.hypot(x, y) - 0.95, _stripes),
    'donut': (lambda x, y: np.abs(np.hypot(x, y) - 0.68) - 0.32, _sprinkles),
    'leaf': (lambda x, y: np.hypot(x, np.abs(y) + 0.5) - 1.18, _veins),
    'sail': (lambda x, y: np.maximum(0.866 * np.abs(x) - 0.5 * y, y) - 0.58, _dots),
    'star': (_five_points, _nested),
    'tile': (lambda x, y: np.maximum(np.abs(x), np.abs(y)) - 0.75, _checks),
}

# Alphabetical, as data sets number class folders.
CLASSES: tuple[str, ...] = tuple(_KINDS)
PALETTE: tuple[tuple[int, int, int], ...] = (
    (230, 75, 53),
    (240, 140, 200),
    (60, 170, 80),
    (60, 130, 235),
    (250, 200, 50),
    (150, 95, 215),
)
SEGMENTATION_CLASSES: tuple[str, ...] = ('background', *CLASSES)
SEGMENTATION_PALETTE: tuple[tuple[int, int, int], ...] = ((90, 95, 105), *PALETTE)

# ------------------------------------------------------------------------- the grounds


def _noise(rng: Generator, size: int, rows: int, columns: int) -> Array:
    """Smooth noise in 0..1 of shape (size, size): a random lattice, interpolated."""

    def weights(cells: int) -> Array:
        position = np.linspace(0, cells, size)[:, None]
        hat = np.clip(1 - np.abs(position - np.arange(cells + 1)), 0, 1)
        return hat * hat * (3 - 2 * hat)

    return weights(rows) @ rng.random((rows + 1, columns + 1)) @ weights(columns).T


def _clouds(x: Array, y: Array, rng: Generator) -> Array:
    octaves = [_noise(rng, len(x), 3 * 2**i, 3 * 2**i) / 2**i for i in range(4)]
    return np.clip(0.85 * np.sum(octaves, axis=0) - 0.3, 0, 1)


def _gradient(x: Array, y: Array, rng: Generator) -> Array:
    return np.clip(0.5 + 0.45 * x, 0, 1) + rng.normal(0, 0.12, x.shape)


def _weave(x: Array, y: Array, rng: Generator) -> Array:
    threads = rng.uniform(7, 12)
    over = (np.floor(threads * x) + np.floor(threads * y)) % 2 == 0
    across = np.where(over, x, y) * threads % 1
    along = np.where(over, y, x) * threads % 1
    return np.sin(np.pi * across) ** 0.7 * (0.55 + 0.45 * np.sin(np.pi * along))


def _brushed(x: Array, y: Array, rng: Generator) -> Array:
    rings = np.sin(rng.uniform(10, 16) * (y + 0.5 * _noise(rng, len(x), 4, 4)))
    return 0.2 + 0.25 * rings + 0.5 * _noise(rng, len(x), len(x) // 2, 3)


def _pebbles(x: Array, y: Array, rng: Generator) -> Array:
    centers = rng.uniform(-1.4, 1.4, (40, 2, 1, 1))
    distances = np.hypot(x - centers[:, 0], y - centers[:, 1])
    first, second = np.partition(distances, 1, axis=0)[:2]
    tones = rng.uniform(0.4, 1, 40)[distances.argmin(axis=0)]
    return tones * np.clip((second - first) / 0.08, 0, 1)


_GROUNDS = (_clouds, _gradient, _weave, _brushed, _pebbles)

# -------------------------------------------------------------------------- the scenes


@dataclass(frozen=True)
class Scene:
    """One image and its things, from the rearmost to the foremost.

    Args:
        image: (H, W, 3) uint8, RGB.
        labels: (N,) int64, indices into `CLASSES`.
        masks: (N, H, W) bool, the visible pixels of each thing; no two overlap.
        visible: (N,) float64, 0.4..1, the share of each thing that is not covered.
    """

    image: Array
    labels: Array
    masks: Array
    visible: Array


class _Thing(NamedTuple):
    label: int
    center: Array  # x and y in pixels
    radius: float
    angle: float
    stretch: float

    def frame(self, grid: Array) -> tuple[Array, Array]:
        """x and y, (H, W) each, of the pixels `grid` (2, H, W) in the thing's frame."""
        dx, dy = (grid - self.center[:, None, None]) / self.radius
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        x, y = cos * dx + sin * dy, cos * dy - sin * dx
        return x * self.stretch, y / self.stretch

    def distance(self, grid: Array) -> Array:
        """(H, W) distances from the outline in pixels, negative inside."""
        silhouette, _ = _KINDS[CLASSES[self.label]]
        return silhouette(*self.frame(grid)) * self.radius


def _pixel_grid(size: int) -> Array:
    """x and y of the pixel centres, (2, size, size)."""
    return np.mgrid[:size, :size][::-1] + 0.5


def _random_thing(rng: Generator, size: int) -> _Thing:
    radius = rng.uniform(17, 32) * size / 128
    return _Thing(
        label=int(rng.integers(len(CLASSES))),
        center=rng.uniform(1.28 * radius, size - 1.28 * radius, 2),
        radius=radius,
        angle=rng.uniform(0, 2 * np.pi),
        stretch=rng.uniform(0.92, 1.08),
    )


def _place_things(rng: Generator, size: int) -> tuple[list[_Thing], Array, Array]:
    """Draw random things until 40 % of each is visible, about 100 pixels at size 128.

    Returns the things, their visible masks and visible shares, as in `Scene`.
    """
    count, grid = int(rng.integers(2, 6)), _pixel_grid(size)
    while True:
        things = [_random_thing(rng, size) for _ in range(count)]
        whole = np.stack([thing.distance(grid) < 0 for thing in things])
        masks = whole.copy()
        for i in range(count):  # later things cover earlier ones
            masks[:i] &= ~whole[i]
        visible = masks.sum(axis=(1, 2)) / whole.sum(axis=(1, 2))
        if visible.min() >= 0.4:
            return things, masks, visible


def _color(hue: float, saturation: float, value: float) -> Array:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value))


def _blend(first: Array, second: Array, share: Array) -> Array:
    """(H, W, 3) mix of two colours or images; `share` (H, W) is that of the second."""
    return first + share[..., None] * (second - first)


def _paint_ground(rng: Generator, size: int) -> Array:
    """A ground in two related, muted colours: (size, size, 3) in 0..1."""
    turn, hue, value = rng.uniform((0, 0, 0.3), (2 * np.pi, 1, 0.75))
    x, y = 2 * _pixel_grid(size) / size - 1
    cos, sin = np.cos(turn), np.sin(turn)
    ground = _GROUNDS[rng.integers(len(_GROUNDS))]
    pattern = ground(cos * x + sin * y, cos * y - sin * x, rng)
    dark = _color(hue, rng.uniform(0.15, 0.45), value)
    light = _color(hue + rng.uniform(-0.08, 0.08), rng.uniform(0.1, 0.4), value + 0.2)
    return _blend(dark, light, pattern)


def _paint_surface(thing: _Thing, grid: Array, rng: Generator) -> Array:
    """A pattern in a dark colour near that of the class and a light one: (H, W, 3)."""
    kind = np.array(PALETTE[thing.label]) / 255
    hue = colorsys.rgb_to_hsv(*kind)[0] + rng.normal(0, 0.03)
    dark = _color(hue, rng.uniform(0.65, 0.95), rng.uniform(0.5, 0.9))
    light = _color(hue + rng.uniform(0.1, 0.6), rng.uniform(0.1, 0.5), 1.0)
    _, pattern = _KINDS[CLASSES[thing.label]]
    return _blend(dark, light, pattern(*thing.frame(grid), rng))


def _paint_thing(image: Array, thing: _Thing, lamp: Array, rng: Generator) -> None:
    """Paint a thing and its shadow; `lamp` (2, 1, 1) is the direction of the light."""
    low, high = thing.center - 1.6 * thing.radius, thing.center + 1.6 * thing.radius
    (left, top), (right, bottom) = low.clip(0).astype(int), high.astype(int)
    grid = _pixel_grid(len(image))[:, top:bottom, left:right]

    shadow = thing.distance(grid + 0.12 * thing.radius * lamp)
    below = image[top:bottom, left:right]
    below = below * (1 - 0.45 * np.clip(0.5 - shadow / 5, 0, 1))[..., None]

    distance = thing.distance(grid)
    rim = 1 - 0.4 * np.exp(np.minimum(distance, 0) / 1.5)
    lit = 1 + 0.22 * (lamp * (grid - thing.center[:, None, None])).sum(0) / thing.radius
    above = _paint_surface(thing, grid, rng) * (rim * lit)[..., None]
    image[top:bottom, left:right] = _blend(below, above, np.clip(0.5 - distance, 0, 1))


def draw_scene(seed: int, size: int = 128) -> Scene:
    """Draw one scene; the same seed and size give the same bytes.

    Args:
        seed: 0 or more.
        size: height and width in pixels, at least 64; the things scale with it.

    Example:
        >>> scene = draw_scene(seed=7)
        >>> scene.image.shape, scene.masks.shape[1:]
        ((128, 128, 3), (128, 128))
    """
    check_at_least('seed', seed, 0)
    check_at_least('size', size, 64)
    rng = np.random.default_rng(seed)
    things, masks, visible = _place_things(rng, size)
    turn = rng.uniform(0, 2 * np.pi)
    lamp = np.array([np.cos(turn), np.sin(turn)])[:, None, None]

    image = _paint_ground(rng, size)
    for thing in things:
        _paint_thing(image, thing, lamp, rng)
    lit = 1 + 0.15 * (lamp * (2 * _pixel_grid(size) / size - 1)).sum(0)
    image = image * lit[..., None] * rng.uniform(0.92, 1.08, 3)
    image += rng.normal(0, 0.012, image.shape)
    return Scene(
        image=(255 * np.clip(image, 0, 1)).round().astype(np.uint8),
        labels=np.array([thing.label for thing in things], dtype=np.int64),
        masks=masks,
        visible=visible,
    )


def check_at_least(name: str, value: int, smallest: int) -> None:
    if value < smallest:
        raise ValueError(
            f'{name} is {value}, but must be {smallest} or more: give a larger {name}.'
        )
