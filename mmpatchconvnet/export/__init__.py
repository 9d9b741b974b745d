"""Export trained models as ONNX files for images of any size."""

from mmpatchconvnet.export.check import Row, compare
from mmpatchconvnet.export.graphs import (
    ClassifierGraph,
    FeatureGraph,
    Graph,
    SegmentorGraph,
    make_graph,
)
from mmpatchconvnet.export.onnx_file import export_onnx

__all__ = [
    'ClassifierGraph',
    'FeatureGraph',
    'Graph',
    'Row',
    'SegmentorGraph',
    'compare',
    'export_onnx',
    'make_graph',
]
