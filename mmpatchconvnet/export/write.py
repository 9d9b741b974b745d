"""From a trained model to a file that was compared with it."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmpatchconvnet.deploy import switch_to_deploy
from mmpatchconvnet.export.check import SIZES, Row, compare
from mmpatchconvnet.export.contract import describe
from mmpatchconvnet.export.graphs import FeatureGraph, make_graph
from mmpatchconvnet.export.onnx_file import export_onnx
from mmpatchconvnet.export.quantize import quantize
from mmpatchconvnet.export.torch_file import export_torch
from mmpatchconvnet.inference.host_model import HostModel
from mmpatchconvnet.inference.pictures import Picture

TOLERANCE = 1e-4  # largest difference in float32, relative to the largest value
TOLERANCE_FP16 = 2e-2
TOLERANCE_INT8 = 5e-2


def weights_of(path: Path) -> Path:
    """The file next to an ONNX file that holds its weights if they are too large."""
    return path.with_name(f'{path.name}.data')


class ExportError(ValueError):
    """The exported file disagrees with the model."""


def write_checked(
    host: HostModel,
    out: Path,
    *,
    format: str = 'onnx',
    features: bool = False,
    preprocess: bool = False,
    fp16: bool = False,
    calibration: Any = None,
    picture: Picture | None = None,
    sizes: Sequence[tuple[int, int, int]] = SIZES,
) -> list[Row]:
    """Fold a model, write it as a file and compare the two.

    Args:
        host: The model, in float32.
        out: The file. An earlier one stays if the new one is wrong.
        format: `onnx`, or `torch` for a package of AOTInductor.
        features: Export the maps of backbone and necks only.
        preprocess: Normalize and pad within the graph.
        fp16: Compute in half precision.
        calibration: Pictures to choose the ranges of 8-bit integers with; None for
            floating point.
        picture: Compare the two on this picture as well, as the test pipeline of the
            model prepares it.
        sizes: Batch, height and width of the random images for the comparison.

    Returns:
        How far each output is from that of the model. Integers of 8 bits are not held
        to a tolerance, as their loss depends on the pictures; of detectors the figures
        are of the best 95 % of the objects.

    Raises:
        ValueError: A model or a part of it that cannot be exported.
        ExportError: An output differs by more than the tolerance.
        ImportError: A package that the export needs is not installed, or too old.
    """
    switch_to_deploy(host.module)
    kind = FeatureGraph if features else make_graph
    graph = kind(host.module, preprocess)  # raises for models that it does not support
    metadata = {} if features else describe(host, preprocess)
    image = host.prepare(picture, picture.image)['inputs'] if picture else None
    with TemporaryDirectory(dir=out.parent, prefix='.export') as folder:
        path = Path(folder) / out.name
        if format == 'torch':
            export_torch(graph, path, metadata=metadata)
        else:
            export_onnx(graph, path, fp16=fp16, metadata=metadata)
        tolerance = TOLERANCE_FP16 if fp16 else TOLERANCE
        rows = compare(graph, path, sizes, tolerance, image)
        if wrong := [row for row in rows if not row.agreed]:
            worst = max(wrong, key=lambda row: row.difference)
            raise ExportError(
                f'the {worst.output} of the exported file differ by '
                f'{worst.difference:.1e} from the model for images of '
                f'{"x".join(map(str, worst.size))}, more than {tolerance:g}: please '
                'report this with your config.'
            )
        if calibration is not None:
            quantize(path, path.with_suffix('.int8.onnx'), calibration)
            weights_of(path).unlink(missing_ok=True)
            path.with_suffix('.int8.onnx').replace(path)
            rows = compare(graph, path, sizes, TOLERANCE_INT8, image)
        for part in (weights_of(path), path):
            if part.exists():
                part.replace(out.parent / part.name)
    return rows
