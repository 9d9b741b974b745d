"""Convert an exported model to integers of 8 bits."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmpatchconvnet.inference.exported_model import ExportedModel
from mmpatchconvnet.inference.pictures import PictureError
from mmpatchconvnet.inference.sources import Source, open_source

CALIBRATION_PICTURES = 32


def quantize(path: Path, out: Path, pictures: Any) -> None:
    """Write the model with weights and activations of 8 bits; see ONNX Runtime.

    Convolutions and products are converted, with a scale for each output channel and
    ranges of activations from 32 pictures; the rest stays in float32.

    Args:
        path: A float32 file of `mmpatchconvnet export`.
        out: The new file.
        pictures: A source of pictures, like those that the model is for.

    Raises:
        ValueError: There is no picture that can be read.
    """
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / 'prepared.onnx'
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(out),
            Calibration(ExportedModel(path, 'cpu', 0), pictures),
            op_types_to_quantize=['Conv', 'ConvTranspose', 'Gemm', 'MatMul'],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def readers_of(pictures: Any) -> Sequence[Any]:
    """Functions that read the pictures of a source.

    Raises:
        ValueError: There is no such source, it has no pictures, or it is a video.
    """
    readers: Any = open_source(pictures, recursive=True).readers
    if not isinstance(readers, list):
        raise ValueError(f'{pictures} is a video: give a folder of pictures.')
    return readers


class Calibration:
    """Inputs of a model, one at a time, for ONNX Runtime."""

    def __init__(self, model: ExportedModel, pictures: Any) -> None:
        self.inputs = self._read(model, pictures)

    def _read(self, model: ExportedModel, pictures: Any) -> Iterator[dict[str, Any]]:
        readers = readers_of(pictures)
        # Spread over the source: the first ones are often all of one class.
        number = min(len(readers), CALIBRATION_PICTURES)
        places = np.linspace(0, len(readers) - 1, number).astype(int)
        chosen = [readers[place] for place in places]
        count = 0
        for picture in Source(chosen, len(chosen)):
            if not isinstance(picture, PictureError):
                count += 1
                yield model.inputs_of(model.prepare(picture, picture.image))
        if not count:
            raise ValueError(
                f'{pictures} has no picture that can be read: give a folder of '
                'pictures like those that the model is for.'
            )

    def get_next(self) -> dict[str, Any] | None:
        return next(self.inputs, None)
