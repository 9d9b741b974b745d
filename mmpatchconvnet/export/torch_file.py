"""Write a model as a package of AOTInductor: compiled code that PyTorch loads."""

import shutil
import warnings
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim

from mmpatchconvnet.deploy import switch_to_deploy
from mmpatchconvnet.export.graphs import make_graph
from mmpatchconvnet.export.onnx_file import TRACED, need
from mmpatchconvnet.export.resizing import dynamic_resizing
from mmpatchconvnet.models.hmhsa import HierarchicalAttention

COMPILERS = ('g++', 'clang++')


def export_torch(
    model: Any,
    path: str | Path,
    *,
    preprocess: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Compile a model for the CPU of this machine, for images of any size from 65 on.

    Inputs and outputs are those of `export_onnx`. `torch._inductor.aoti_load_package`
    loads the file, which runs only on processors with the same instructions.

    Args:
        model: A classifier, segmentor, detector, column or `Graph`, in float32.
        path: The file to write, `.pt2`.
        preprocess: Put the data preprocessor in front: `images` are then BGR, 0..255.
            Of a `Graph`, the graph says so itself.
        metadata: Texts to store in the file.

    Raises:
        ValueError: A model that cannot be exported, such as a Mask R-CNN or one with
            TransCNN, or there is no C++ compiler.
        ImportError: torch is before 2.6.
    """
    need(torch_release='2.6')
    if not any(map(shutil.which, COMPILERS)):
        raise ValueError(
            f'no C++ compiler ({", ".join(COMPILERS)}) is found: install one, or give '
            '--format onnx.'
        )
    graph = deepcopy(make_graph(model, preprocess)).cpu()
    if 'masks' in graph.output_names:
        raise ValueError(
            'masks are wrong in packages of AOTInductor (torch 2.14): give --format '
            'onnx for a Mask R-CNN.'
        )
    if any(isinstance(module, HierarchicalAttention) for module in graph.modules()):
        raise ValueError(
            'the windows of TransCNN and HMHSA cannot be compiled for any size (torch '
            '2.14): give --format onnx for them.'
        )
    switch_to_deploy(graph.model)
    batch, height, width = TRACED
    arguments = graph.example(batch if 0 in graph.dims else 1, height, width)
    sizes = {
        dim: Dim(name, min=65 if dim else 1, max=2**13)
        for dim, name in graph.dims.items()
    }
    shapes = {name: sizes if name == 'images' else None for name in graph.input_names}
    with torch.no_grad(), dynamic_resizing(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of the exporter, about itself
        program = torch.export.export(graph, arguments, dynamic_shapes=shapes)
        torch._inductor.aoti_compile_and_package(
            program,
            package_path=str(path),
            inductor_configs={'aot_inductor.metadata': dict(metadata or {})},
        )
    return Path(path)
