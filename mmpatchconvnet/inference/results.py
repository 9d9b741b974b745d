"""What a model finds in a picture, as plain objects with NumPy arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from mmpatchconvnet.mask_crops import MaskCrop, to_masks

Array = np.ndarray


class Objects(NamedTuple):
    """Objects in a picture, by falling score, with the fields of `Detection`."""

    labels: Array
    scores: Array
    boxes: Array
    crops: list[MaskCrop] | None


@dataclass(eq=False)
class Result:
    """A picture and what was found in it.

    Attributes:
        file: The path of the picture, or the name of a frame or an array.
        classes: The name of every class.
        image: The picture as the model's pipeline reads it, (H, W, 3) uint8 BGR.
        intensity: The brightness of each pixel, (H, W); see `Picture`.
        sample: The data sample of the host; None for a picture that was cut into tiles.
    """

    file: str
    classes: Sequence[str] = field(repr=False)
    image: Array = field(repr=False)
    intensity: Array = field(repr=False)
    sample: Any = field(repr=False)


@dataclass(eq=False)
class Classification(Result):
    """The class of a picture.

    Attributes:
        label: The class with the highest score.
        scores: The score of every class, (C,) float32 in 0..1.
    """

    label: int
    scores: Array = field(repr=False)


@dataclass(eq=False)
class Segmentation(Result):
    """The class of every pixel.

    Attributes:
        label_map: Classes, (H, W) uint8, or int32 for more than 256 classes.
    """

    label_map: Array = field(repr=False)


@dataclass(eq=False)
class Detection(Result):
    """The objects in a picture, by falling score.

    Attributes:
        labels: Class of each object, (N,) int64.
        scores: (N,) float32 in 0..1.
        boxes: x1, y1, x2, y2 in pixels of the picture, (N, 4) float32.
        crops: The mask of each object within its bounds; None for a model of boxes.
    """

    labels: Array
    scores: Array = field(repr=False)
    boxes: Array = field(repr=False)
    crops: list[MaskCrop] | None = field(repr=False)

    @property
    def masks(self) -> Array | None:
        """(N, H, W) bool, made at each access; None for a model of boxes."""
        if self.crops is None:
            return None
        return to_masks(self.crops, self.image.shape[:2])


def tell_apart(classes: Sequence[str], count: int) -> list[str]:
    """The names of `count` classes or more, each another one.

    Labels that have no name are called `class N`. If several classes have a name, their
    numbers are added to it from the second on: ImageNet has `crane` and `crane (517)`.
    """
    names = [*classes, *(f'class {label}' for label in range(len(classes), count))]
    first: dict[str, int] = {}
    return [
        name if first.setdefault(name, label) == label else f'{name} ({label})'
        for label, name in enumerate(names)
    ]
