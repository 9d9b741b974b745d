"""Half precision of an exported graph: what the model computes, not what places it.

`convert_float_to_float16` of onnxruntime also rounds what passes between two nodes that
it keeps in float32, such as boxes and places of pixels. So only the nodes inside the
model are converted here, with a cast where a value enters or leaves them.
"""

from typing import Any

import numpy as np

from mmpatchconvnet.export.graphs import Graph

SCOPES = 'pkg.torch.onnx.name_scopes'  # where the exporter writes a node's modules


def to_half(model: Any, graph: Graph) -> Any:
    """An ONNX model that computes in float16; inputs and outputs stay float32.

    Softmax, anchors, boxes, NMS and the weights of resizing stay in float32: half
    precision would shift them by pixels.

    Args:
        model: An `onnx.ModelProto` with the metadata of the exporter; it is changed.
        graph: The graph it was exported from.
    """
    inner = nodes_of_values(model.graph)
    converter = Converter(model.graph)
    for index, node in enumerate(model.graph.node):
        if index in inner and is_inside(node, graph.parts):
            converter.convert(node)
        else:
            converter.keep(node)
    converter.restore_outputs()
    del model.graph.node[:]
    model.graph.node.extend(converter.nodes)
    used = {name for node in converter.nodes for name in node.input}
    weights = [x for x in model.graph.initializer if x.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*weights, *converter.weights])
    del model.graph.value_info[:]
    return model


class Converter:
    """Copies the nodes of a graph in order, some of them in half precision."""

    def __init__(self, graph: Any) -> None:
        from onnx import TensorProto

        self.graph = graph
        self.nodes: list[Any] = []
        self.weights: list[Any] = []  # in half precision
        self.floats = {
            x.name
            for x in (*graph.value_info, *graph.input, *graph.output)
            if x.type.tensor_type.elem_type == TensorProto.FLOAT
        }
        self.initial = {
            x.name: x for x in graph.initializer if x.data_type == TensorProto.FLOAT
        }
        self.halves: set[str] = set()  # values that are now float16
        self.casts: dict[str, str] = {}

    def convert(self, node: Any) -> None:
        """Add a node that computes in float16."""
        from onnx import TensorProto

        for i, name in enumerate(node.input):
            if name in self.initial:
                node.input[i] = self.half_weight(name)
            elif name in self.floats and name not in self.halves:
                node.input[i] = self.cast(name, TensorProto.FLOAT16)
        for attribute in node.attribute:
            if (
                node.op_type == 'Cast'
                and attribute.name == 'to'
                and attribute.i == TensorProto.FLOAT
            ):
                attribute.i = TensorProto.FLOAT16
        self.halves.update(name for name in node.output if name in self.floats)
        self.nodes.append(node)

    def keep(self, node: Any) -> None:
        """Add a node that computes as before."""
        from onnx import TensorProto

        for i, name in enumerate(node.input):
            if name in self.halves and node.op_type != 'Shape':
                node.input[i] = self.cast(name, TensorProto.FLOAT)
        self.nodes.append(node)

    def cast(self, name: str, dtype: int) -> str:
        """The name of a value in another precision."""
        from onnx.helper import make_node

        if name not in self.casts:
            self.casts[name] = f'{name}_cast'
            cast = make_node('Cast', [name], [f'{name}_cast'], f'{name}_cast', to=dtype)
            self.nodes.append(cast)
        return self.casts[name]

    def half_weight(self, name: str) -> str:
        """The name of a weight in half precision."""
        from onnx import numpy_helper

        if name not in self.casts:
            self.casts[name] = f'{name}_half'
            largest = np.finfo(np.float16).max
            value = numpy_helper.to_array(self.initial[name])
            finite = np.where(np.isfinite(value), value.clip(-largest, largest), value)
            half = numpy_helper.from_array(finite.astype(np.float16), f'{name}_half')
            self.weights.append(half)
        return self.casts[name]

    def restore_outputs(self) -> None:
        """Cast the outputs of the graph to float32, under their names."""
        from onnx import TensorProto
        from onnx.helper import make_node

        for name in [x.name for x in self.graph.output if x.name in self.halves]:
            for node in self.nodes:
                for names in (node.input, node.output):
                    for i, other in enumerate(names):
                        if other == name:
                            names[i] = f'{name}_half'
            self.nodes.append(
                make_node('Cast', [f'{name}_half'], [name], to=TensorProto.FLOAT)
            )


def is_inside(node: Any, parts: tuple[str, ...]) -> bool:
    """Whether a node comes from one of these parts of the model."""
    scopes = next((p.value for p in node.metadata_props if p.key == SCOPES), '')
    names = scopes.replace("'", '.').replace('[', '.').replace(']', '.').split('.')
    return any(part in names for part in parts)


def nodes_of_values(graph: Any) -> set[int]:
    """Numbers of the nodes that depend on pixels; others depend on sizes only."""
    values = {graph.input[0].name}
    numbers = set()
    for number, node in enumerate(graph.node):  # in the order of computation
        if node.op_type != 'Shape' and values & {*node.input}:
            values.update(node.output)
            numbers.add(number)
    return numbers
