"""A model that `mmpatchconvnet export` wrote. ONNX files need no PyTorch."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from mmpatchconvnet.inference.exported_files import open_file
from mmpatchconvnet.inference.exported_steps import (
    apply_step,
    normalize,
    pad,
    paste,
    resize_logits,
)
from mmpatchconvnet.inference.pictures import Picture
from mmpatchconvnet.inference.results import (
    Classification,
    Detection,
    Objects,
    Result,
    Segmentation,
)

Array = np.ndarray
METADATA = 'mmpatchconvnet'  # the key of what an exported file says about itself
VERSION = 1  # of these texts
NEEDED = {'version', 'task', 'classes', 'palette', 'steps', 'preprocess'}
KINDS: dict[str, type[Result]] = dict(
    classifier=Classification, segmentor=Segmentation, detector=Detection
)


class ExportedModel:
    """A model that a `Predictor` calls; see there for the arguments.

    Attributes:
        kind: What it predicts, a subclass of `Result`.
        classes: The name of every class.
        palette: RGB 0..255 of every class, or None if the data set chooses none.
        says: The metadata of the file; see `export.contract`.

    Raises:
        ValueError: The file cannot be read, is not one of `mmpatchconvnet export`, or
            what runs it is not installed or cannot use the device.
    """

    def __init__(self, path: str | Path, device: str | None, min_score: float) -> None:
        self.file = open_file(path, device)
        self.says = contract_of(path, self.file.metadata.get(METADATA, ''))
        self.kind = KINDS[self.says['task']]
        self.classes, self.palette = self.says['classes'], self.says['palette']
        self.min_score = min_score

    def prepare(self, picture: Picture, image: Array) -> dict[str, Any]:
        """The inputs (3, H, W) float32 of a picture, or of a tile `image` of it."""
        shape = image.shape[:2]
        for step in self.says['steps']:
            image = apply_step(image, step)
        size = image.shape[:2]
        before: dict[str, Any] | None = self.says['preprocess']
        if before is None:  # the graph does it
            inputs = image.transpose(2, 0, 1).astype(np.float32)
        else:
            image = image[..., ::-1] if before['to_rgb'] else image
            inputs = normalize(image, before['mean'], before['std'])
            inputs = pad(inputs, before['divisor'], before['value'])
        return dict(inputs=inputs, size=size, shape=shape)

    def run(self, batch: list[dict]) -> list[tuple[tuple, None]]:
        """For each prepared picture the fields of its result."""
        if self.kind is Detection:
            return [(self._objects(one), None) for one in batch]
        images = np.stack([one['inputs'] for one in batch])
        outputs = self.file.run(dict(images=images))
        if self.kind is Classification:
            return [((int(x.argmax()), x.astype(np.float32)), None) for x in outputs[0]]
        pairs = zip(outputs[0], batch, strict=True)
        return [((self._label_map(*pair),), None) for pair in pairs]

    def logits(self, prepared: dict) -> Array:
        """The logits (C, H, W) of a prepared picture, at its size."""
        (logits,) = self.file.run(self.inputs_of(prepared))
        return self._of_picture(logits[0], prepared)

    def inputs_of(self, prepared: dict) -> dict[str, Array]:
        """The arguments of the graph for one prepared picture."""
        inputs = dict(images=prepared['inputs'][None])
        if self.kind is Detection:
            inputs['size'] = np.array(prepared['size'], np.int64)
        return inputs

    def _of_picture(self, logits: Array, prepared: dict) -> Array:
        height, width = prepared['size']
        logits = logits[:, :height, :width].astype(np.float32)
        return resize_logits(logits, prepared['shape'], self.says['align_corners'])

    def _label_map(self, logits: Array, prepared: dict) -> Array:
        logits = self._of_picture(logits, prepared)
        if len(logits) > 1:
            return logits.argmax(0)
        return (1 / (1 + np.exp(-logits[0])) > self.says['threshold']).astype(np.uint8)

    def _objects(self, prepared: dict) -> Objects:
        size, shape = prepared['size'], prepared['shape']
        found = self.file.run(self.inputs_of(prepared))
        boxes, labels, scores = found[:3]
        order = np.argsort(-scores, kind='stable')
        order = order[scores[order] >= self.min_score]
        factor = np.array([size[1] / shape[1], size[0] / shape[0]] * 2, np.float32)
        boxes = (boxes[order] / factor).astype(np.float32)
        crops = None
        if len(found) > 3:
            least = self.says['mask_threshold']
            crops = [
                paste(found[3][index], box, shape, least)
                for index, box in zip(order, boxes, strict=True)
            ]
        return Objects(labels[order], scores[order].astype(np.float32), boxes, crops)


def contract_of(path: str | Path, text: str) -> dict[str, Any]:
    """What a file says about itself.

    Raises:
        ValueError: It is not a text of this version of `mmpatchconvnet export`.
    """
    try:
        says = json.loads(text)
    except ValueError:
        says = None
    complete = isinstance(says, dict) and says.keys() >= NEEDED
    if not complete or says['version'] != VERSION or says['task'] not in KINDS:
        raise ValueError(
            f'{path} does not say how pictures are prepared for it: export a '
            'classifier, detector or segmentor with this version of mmpatchconvnet '
            'export, and without --features.'
        )
    return says
