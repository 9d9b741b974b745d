"""Write a model as an ONNX file."""

import warnings
from collections.abc import Mapping
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from mmpatchconvnet.deploy import switch_to_deploy
from mmpatchconvnet.export.graphs import Graph, make_graph
from mmpatchconvnet.export.half import to_half
from mmpatchconvnet.export.resizing import dynamic_resizing

OPSET = 20
TRACED = (2, 136, 200)  # batch, height and width of the trace, all different
LARGEST = 2**31 - 2**20  # bytes of one file


def export_onnx(
    model: Any,
    path: str | Path,
    *,
    preprocess: bool = False,
    fp16: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a model as an ONNX file for images of any size.

    A copy of the model is folded first. The input is `images` (N, 3, H, W) in float32,
    and for a detector also `size`; see the graphs of `graphs.py` and `detector.py` for
    the outputs. Only the batch of a detector is fixed, to 1.

    Args:
        model: A classifier, segmentor, detector, column or `Graph`, in float32.
        path: The file to write.
        preprocess: Put the data preprocessor in front: `images` are then BGR, 0..255.
            Of a `Graph`, the graph says so itself.
        fp16: Compute in half precision; inputs and outputs stay in float32.
        metadata: Further texts to store in the file.

    Returns:
        The path. Weights of 2 GB or more are next to it in `NAME.data`.

    Raises:
        ValueError: A model or a part of it that cannot be exported.
        ImportError: onnx or onnxscript is not installed, or torch is before 2.5.
    """
    need('onnx', 'onnxscript')
    path = Path(path)
    graph = deepcopy(make_graph(model, preprocess)).cpu()
    switch_to_deploy(graph.model)
    proto = trace(graph)
    if fp16:
        proto = to_half(proto, graph)
    tidy(proto, metadata or {})
    save(proto, path)
    return path


def trace(graph: Graph) -> Any:
    """The `onnx.ModelProto` of a graph on the CPU."""
    batch, height, width = TRACED
    arguments = graph.example(batch if 0 in graph.dims else 1, height, width)
    with torch.no_grad(), dynamic_resizing(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of the exporter, about itself
        program: Any = torch.onnx.export(
            graph,
            arguments,
            dynamo=True,
            input_names=[*graph.input_names],
            output_names=[*graph.output_names],
            dynamic_shapes=graph.dynamic_shapes(),
            opset_version=OPSET,
            verbose=False,
        )
    return program.model_proto


def tidy(proto: Any, metadata: Mapping[str, str]) -> None:
    """Store metadata, name the number of objects, and drop the traces of the export."""
    from onnx.helper import set_model_props

    set_model_props(proto, dict(metadata))
    for node in proto.graph.node:  # they hold paths of this machine
        del node.metadata_props[:]
        node.doc_string = ''
    del proto.graph.value_info[:]  # shapes in the exporter's own symbols
    del proto.graph.metadata_props[:]
    for output in proto.graph.output:
        for dim in output.type.tensor_type.shape.dim:
            if dim.dim_param.startswith('u'):  # a size that depends on values
                dim.dim_param = 'objects'


def save(proto: Any, path: Path) -> None:
    import onnx

    path.parent.mkdir(parents=True, exist_ok=True)
    size = sum(len(x.raw_data) for x in proto.graph.initializer)
    if size < LARGEST:
        onnx.save(proto, path)
    else:
        onnx.save(proto, path, save_as_external_data=True, location=f'{path.name}.data')


def need(*packages: str, torch_release: str = '2.5') -> None:
    """Raise unless torch is of this release or later and the packages are installed.

    The exporters of earlier releases have other arguments.
    """
    if torch.__version__ < torch_release:  # compares as versions
        raise ImportError(
            f'torch {torch.__version__} is installed, but the export needs '
            f'{torch_release} or later: install a later release.'
        )
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ImportError(
            f'{" and ".join(missing)} cannot be imported, which the export needs: '
            'install the package with its extra [export].'
        )
