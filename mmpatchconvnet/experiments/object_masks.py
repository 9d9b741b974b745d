"""Which pixels of a picture show each class: masks from a COCO file."""

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO

from mmpatchconvnet.inference.pictures import Picture

Array = np.ndarray


class ObjectMasks:
    """The masks of all classes in the pictures of a COCO file.

    Args:
        file: Annotations with a segmentation for each object.
        classes: The names of the classes, in the order of the model's scores.

    Raises:
        ValueError: The file is no COCO file, or lacks one of the classes.
    """

    def __init__(self, file: Path, classes: list[str]) -> None:
        try:
            content = json.loads(file.read_bytes())
            names = {one['id']: one['name'] for one in content['categories']}
            self.coco = COCO()
            self.coco.dataset = content
            with redirect_stdout(StringIO()):  # it prints that it has done so
                self.coco.createIndex()
            self.ids = {one['file_name']: one['id'] for one in content['images']}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f'{file} cannot be read as a COCO file ({type(error).__name__}: '
                f'{error}): give one with the masks of these pictures.'
            ) from None
        missing = [name for name in classes if name not in names.values()]
        if missing:
            raise ValueError(
                f'{file} has no category {missing[0]!r}, a class of the model: give '
                'the annotations of its data.'
            )
        self.file, self.count = file, len(classes)
        self.labels = {
            number: classes.index(name)
            for number, name in names.items()
            if name in classes
        }

    def of(self, picture: Picture) -> Array:
        """The pixels of each class in a picture, (K, H, W) bool.

        Raises:
            ValueError: The file does not list this picture, or with another size.
        """
        name, (height, width) = picture.relative, picture.image.shape[:2]
        if name not in self.ids:
            raise ValueError(
                f'{self.file} does not list {name}: give the annotations of these '
                'pictures.'
            )
        image = self.coco.imgs[self.ids[name]]
        if (image['height'], image['width']) != (height, width):
            raise ValueError(
                f'{self.file} lists {name} with {image["width"]}x{image["height"]} '
                f'pixels, but it has {width}x{height}: give the annotations of these '
                'pictures.'
            )
        masks = np.zeros((self.count, height, width), bool)
        for one in self.coco.imgToAnns[image['id']]:
            if one['category_id'] in self.labels:
                masks[self.labels[one['category_id']]] |= self.coco.annToMask(one) > 0
        return masks
