"""Compare an exported file with the model it was exported from."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmpatchconvnet.export.graphs import Graph, make_graph
from mmpatchconvnet.export.preprocess import Preprocess
from mmpatchconvnet.inference.exported_files import open_file

# Batch, height and width that no trace has seen.
SIZES = ((1, 160, 224), (2, 193, 129), (1, 75, 310))


class Row(NamedTuple):
    """How far an output of the file is from the model's, for images of one size."""

    size: tuple[int, int, int]
    output: str
    difference: float  # largest one, relative to the largest value
    agreed: bool
    found: int  # objects of a detector, or images


def compare(
    model: Any,
    path: str | Path,
    sizes: Iterable[tuple[int, int, int]] = SIZES,
    tolerance: float = 1e-4,
    picture: Tensor | None = None,
) -> list[Row]:
    """Run an exported file, and its model in torch, on the same images.

    Args:
        model: The model, or `make_graph(model, preprocess=True)` if the file holds the
            preprocessing.
        path: The exported file.
        sizes: Batch, height and width of random images; of a detector the batch is
            always 1.
        tolerance: Largest difference that counts as agreed.
        picture: One more image (3, H, W), BGR from 0 to 255.

    Returns:
        A row for each size and output. Objects of a detector are matched first; see
        `object_differences`.

    Raises:
        ValueError: A model that cannot be exported, or a file that cannot be run.
    """
    graph, file = make_graph(model), open_file(path, 'cpu')
    rows = []
    for arguments in examples(graph, sizes, picture):
        batch, _, height, width = arguments[0].shape
        size = (batch, height, width)
        with torch.no_grad():
            device = next(graph.parameters()).device
            wanted = [
                x.cpu().numpy() for x in graph(*(a.to(device) for a in arguments))
            ]
        inputs = zip(graph.input_names, arguments, strict=True)
        given = file.run({name: x.numpy() for name, x in inputs})
        if 'boxes' in graph.output_names:
            found = object_differences(wanted, given, tolerance)
        else:
            found = [difference(*pair) for pair in zip(wanted, given, strict=True)]
        rows += [
            Row(size, name, value, value <= tolerance, len(wanted[0]))
            for name, value in zip(graph.output_names, found, strict=True)
        ]
    return rows


def examples(
    graph: Graph, sizes: Iterable[tuple[int, int, int]], picture: Tensor | None
) -> Iterator[tuple[Tensor, ...]]:
    """Arguments of a graph: the same random images each time, then the picture."""
    for batch, height, width in sizes:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            arguments = graph.example(batch if 0 in graph.dims else 1, height, width)
        yield arguments
    if picture is not None:
        _, *others = graph.example(1, *picture.shape[1:])
        images = picture[None].float()
        if not isinstance(graph.preprocess, Preprocess):
            prepare = Preprocess(graph.model.data_preprocessor).cpu()
            prepare.divisor = 1
            images = prepare(images)
        yield images, *others


def difference(wanted: np.ndarray, given: np.ndarray) -> float:
    """The largest difference, relative to the largest wanted value."""
    if wanted.shape != given.shape:
        return float('inf')
    if not wanted.size:
        return 0.0
    largest = float(np.abs(wanted).max())
    return float(np.abs(wanted - given).max()) / (largest or 1.0)


def object_differences(
    wanted: list[np.ndarray], given: list[np.ndarray], tolerance: float
) -> list[float]:
    """For each output of a detector the difference that its objects keep to.

    A share of `tolerance` of the objects is left out, the worst ones: in half
    precision, rounding may decide which of two boxes NMS keeps. Objects without a
    partner differ infinitely.
    """
    few, many = sorted((wanted, given), key=lambda outputs: len(outputs[0]))
    order = match(few, many)
    count = len(many[0])
    if not count:
        return [0.0] * len(wanted)
    last = count - 1 - int(min(tolerance, 0.5) * count)
    found = []
    for a, b, c in zip(few, many, wanted, strict=True):
        largest = float(np.abs(c).max(initial=0)) or 1.0
        apart = np.abs(a.astype(np.float64) - b[order])
        apart = apart.max(tuple(range(1, a.ndim)), initial=0)
        missing = np.full(count - len(a), np.inf)
        found.append(float(np.sort(np.append(apart / largest, missing))[last]))
    return found


def match(wanted: list[np.ndarray], given: list[np.ndarray]) -> np.ndarray:
    """For each wanted object the given one of the nearest box and score.

    Of nearly equal scores, rounding decides which comes first. Both lists start with
    boxes (n, 4), labels (n,) and scores (n,), and at least as many objects are given as
    wanted.
    """
    free = np.ones(len(given[0]), bool)
    order = []
    for box, label, score in zip(*wanted[:3], strict=True):
        distance = np.abs(given[0] - box).max(1) + np.abs(given[2] - score)
        distance = distance + 1e6 * (given[1] != label)
        nearest = int(np.where(free, distance, np.inf).argmin())
        free[nearest] = False
        order.append(nearest)
    return np.array(order, int)
