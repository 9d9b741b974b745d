"""Where in a picture a model's input, and a map over that input, lie.

The test pipeline is followed step by step. A step of resizing maps the whole picture to
the whole result; any other one that crops or changes the size is run on a picture whose
values are its own coordinates. The place of a map's cells in the input is from `cells`.
"""

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmpatchconvnet.config_files import ConfigError
from mmpatchconvnet.inference.model_files import InferencePipeline, check_shape
from mmpatchconvnet.inference.pictures import Picture

Array = np.ndarray
# In the names of steps that move pixels even where they keep the size.
MOVING = ('Crop', 'Flip', 'Rotat', 'Affine', 'Shear', 'Translate')
UNKNOWN = ('Random', *MOVING[1:])  # of steps whose next run may do something else


@dataclass(frozen=True)
class Axis:
    """One side of a picture: `input = scale * picture + shift`, in pixels.

    Coordinates are real numbers; pixel i lies from i to i + 1.
    """

    scale: float = 1
    shift: float = 0

    def then(self, other: 'Axis') -> 'Axis':
        """This one, followed by another."""
        return Axis(self.scale * other.scale, self.shift * other.scale + other.shift)

    def back(self, position: float) -> float:
        """The coordinate in the picture of one in the input."""
        return (position - self.shift) / self.scale


@dataclass(frozen=True)
class Placement:
    """Where a model's input, and the cells of a map over it, lie in a picture.

    Attributes:
        x: From the columns of the picture to those of the input.
        y: The same for rows.
        shape: Height and width of the picture.
        seen: Height and width of the input, without the padding of a batch.
        column: From the columns of the input to those of the map: cell i lies from i to
            i + 1.
        row: The same for rows.
        cells: Height and width of the map.
    """

    x: Axis
    y: Axis
    shape: tuple[int, int]
    seen: tuple[int, int]
    column: Axis = Axis()
    row: Axis = Axis()
    cells: tuple[int, int] = (1, 1)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of what the model sees, in pixels."""
        (height, width), (rows, columns) = self.shape, self.seen
        return (
            max(0.0, self.x.back(0)),
            max(0.0, self.y.back(0)),
            min(float(width), self.x.back(columns)),
            min(float(height), self.y.back(rows)),
        )

    @property
    def grid(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of a whole map, which may exceed the picture."""
        across, down = self.x.then(self.column), self.y.then(self.row)
        rows, columns = self.cells
        return across.back(0), down.back(0), across.back(columns), down.back(rows)

    def to_picture(self, maps: Array) -> Array:
        """Maps over the input as maps over the picture.

        Between the centres of cells, values are interpolated; where the model does not
        see the picture, they are 0.

        Args:
            maps: (..., h, w).

        Returns:
            (..., H, W) float32.
        """
        left, top, right, bottom = self.box
        (height, width), (rows, columns) = self.shape, self.cells
        down = _weights(self.y.then(self.row), height, rows, top, bottom)
        across = _weights(self.x.then(self.column), width, columns, left, right)
        return down @ maps.astype(np.float32) @ across.T


def _weights(axis: Axis, length: int, cells: int, start: float, end: float) -> Array:
    """How much each pixel of a side takes from each cell, (length, cells) float32."""
    middle = np.arange(length) + 0.5
    position = axis.scale * middle + axis.shift - 0.5
    weights = [np.interp(position, range(cells), one) for one in np.eye(cells)]
    seen = (middle >= start) & (middle <= end)
    return (np.stack(weights, axis=1) * seen[:, None]).astype(np.float32)


def prepare(pipeline: InferencePipeline, picture: Picture) -> tuple[dict, Placement]:
    """A picture after the test pipeline, and where the result lies in it.

    Raises:
        ConfigError: A step moves pixels in a way that no scale and shift describe, or
            gives no array.
    """
    data = pipeline.begin(picture, picture.image)
    shape = picture.image.shape[:2]
    x = y = Axis()
    for step in pipeline.steps.transforms:
        before = data.get('img')
        given = {} if before is None else dict(data)
        size = None if before is None else before.shape[:2]
        data = step(data)
        after = data.get('img')
        if after is None:
            continue
        if not isinstance(after, Array):  # of PIL or torch
            raise _unfollowed(step)
        if size is None:  # a loader
            check_shape(picture.file, after.shape[:2], shape)
        elif after.shape[:2] != size or _is_named(step, MOVING):
            step_x, step_y = _follow(step, given, size, after.shape[:2])
            x, y = x.then(step_x), y.then(step_y)
    seen = tuple(data['inputs'].shape[-2:])
    return data, Placement(x, y, shape, seen)


def _follow(step: Any, data: dict, size: Any, new_size: Any) -> tuple[Axis, Axis]:
    """What a step that moves pixels does to columns and to rows."""
    if _is_named(step, ('Resize',)) and not _is_named(step, MOVING):
        return Axis(new_size[1] / size[1]), Axis(new_size[0] / size[0])
    if _is_named(step, UNKNOWN):
        raise _unfollowed(step)
    step = copy(step)
    if hasattr(step, 'backend'):
        step.backend = 'cv2'  # Pillow resizes no real numbers
    rows, columns = np.indices(size, np.float32) + 0.5
    here = np.stack([columns, rows, np.ones(size, np.float32)], axis=-1)
    try:
        moved = step(dict(data, img=here))['img']
        return (
            _fit(moved[..., 0], moved[..., 2]),
            _fit(moved[..., 1].T, moved[..., 2].T),
        )
    except Exception as error:  # of any kind, as any step may be in a config
        raise _unfollowed(step) from error


def _is_named(step: Any, words: Iterable[str]) -> bool:
    """Whether one of these words is in the name of a step."""
    return any(word in type(step).__name__ for word in words)


def _unfollowed(step: Any) -> ConfigError:
    """The error for a step that cannot be followed."""
    return ConfigError(
        f'maps cannot follow the step {type(step).__name__} of the test pipeline: use '
        'Resize, CenterCrop or Pad of mmcv instead, which take and give arrays.'
    )


def _fit(moved: Array, known: Array) -> Axis:
    """The axis of coordinates (lines, n), which are the same in every line."""
    count = (known == 1).sum(1)
    lines = np.flatnonzero(count == count.max())  # those without padding
    line = lines[len(lines) // 2]
    inside = np.flatnonzero(known[line] == 1)
    if len(inside) > 8:  # near borders a resized picture repeats its last pixel
        inside = inside[len(inside) // 4 : -(len(inside) // 4)]
    values = moved[line, inside].astype(np.float64)
    slope, start = 1.0, float(values[0] - inside[0] - 0.5)
    if len(inside) > 1:  # bicubic values lie around a line, not on it
        slope, start = np.polyfit(inside + 0.5, values, 1).round(9).tolist()
    fault = np.abs(slope * (inside + 0.5) + start - values).max()
    if fault > 0.5 or slope <= 0:
        raise ValueError(f'coordinates are {fault:.2f} pixels from a line')
    return Axis(1 / slope, -start / slope)
