"""A model that `mmpatchconvnet export` wrote, run by ONNX Runtime.

It needs neither PyTorch nor OpenMMLab.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

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
            ONNX Runtime is not installed or cannot use the device.
    """

    def __init__(self, path: str | Path, device: str | None, min_score: float) -> None:
        self.session = open_session(path, device)
        text = self.session.get_modelmeta().custom_metadata_map.get(METADATA)
        self.says: dict[str, Any] = json.loads(text) if text else {}
        if self.says.get('task') not in KINDS:
            raise ValueError(
                f'{path} does not say how pictures are prepared for it: export a '
                'classifier, detector or segmentor with mmpatchconvnet export.'
            )
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
        outputs = self.session.run(None, dict(images=images))
        if self.kind is Classification:
            return [((int(x.argmax()), x.astype(np.float32)), None) for x in outputs[0]]
        pairs = zip(outputs[0], batch, strict=True)
        return [((self._label_map(*pair),), None) for pair in pairs]

    def logits(self, prepared: dict) -> Array:
        """The logits (C, H, W) of a prepared picture, at its size."""
        (logits,) = self.session.run(None, self.inputs_of(prepared))
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
        found = self.session.run(None, self.inputs_of(prepared))
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


def open_session(path: str | Path, device: str | None) -> Any:
    """An ONNX Runtime session, on the CPU or on a GPU.

    Raises:
        ValueError: ONNX Runtime is missing, has no such device, or cannot read the
            file.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ValueError(
            f'{path} needs ONNX Runtime: install it with pip install onnxruntime.'
        ) from None
    if not Path(path).is_file():
        raise ValueError(f'{path} is not a file: give an exported model.')
    name = 'CUDAExecutionProvider'
    has_gpu = name in onnxruntime.get_available_providers()
    if device not in (None, 'cpu') and not (has_gpu and device.startswith('cuda')):
        raise ValueError(
            f'device={device} cannot be used by ONNX Runtime here: give cpu, or '
            'install onnxruntime-gpu.'
        )
    _, _, number = (device or '').partition(':')
    gpu = [(name, dict(device_id=number or '0'))] if has_gpu and device != 'cpu' else []
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    # Waiting threads must not spin: other programs share the cores.
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    try:
        return onnxruntime.InferenceSession(
            str(path), options, providers=[*gpu, 'CPUExecutionProvider']
        )
    except Exception as error:  # of a kind that ONNX Runtime does not export
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f'{path} cannot be read by ONNX Runtime ({reason}): export it again.'
        ) from None
