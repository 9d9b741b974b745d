"""Which pixels of a backbone's input the cells of its map look at.

A cell looks at the pixels around one, which the layers tell. Of 3x3 convolutions with
stride 2 that pad by 1, the first cell is centred on the first pixel, half a cell from
where equal parts of the input would be; of a patch embedding, cells are equal parts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from mmpatchconvnet.attention.placement import Axis

STRIDED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.Unfold)


@dataclass(frozen=True)
class Step:
    """A layer with a stride, along one side: cell i looks at `stride * i + first`.

    Attributes:
        start: Length of its input.
        end: Length of its output.
        stride: Pixels of its input between two cells.
        first: The pixel on which the first cell is centred.
    """

    start: int
    end: int
    stride: int
    first: float


@dataclass
class Steps:
    """The layers with a stride that a backbone has run: rows, then columns."""

    sides: tuple[set[Step], set[Step]] = field(default_factory=lambda: (set(), set()))

    def axes(self, size: Any, cells: Any) -> tuple[Axis, Axis]:
        """From rows and from columns of the input to those of the map.

        Cells are equal parts of the input where the layers do not tell.

        Args:
            size: Height and width of the input.
            cells: Height and width of the map.
        """
        row, column = (
            _axis(steps, size[side], cells[side])
            for side, steps in enumerate(self.sides)
        )
        return row, column


@contextmanager
def watch_steps(backbone: nn.Module) -> Iterator[Steps]:
    """Record the layers with a stride that a backbone runs."""
    steps = Steps()

    def record(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        for side, found in enumerate(steps.sides):
            kernel, stride, padding, dilation = (
                value[side] if isinstance(value, tuple) else value
                for value in (
                    module.kernel_size,
                    module.stride,
                    module.padding,
                    getattr(module, 'dilation', 1),
                )
            )
            if stride == 1 or isinstance(padding, str):
                continue
            start = inputs[0].shape[2 + side]
            reach = dilation * (kernel - 1)
            end = (start + 2 * padding - reach - 1) // stride + 1
            if not isinstance(module, nn.Unfold):  # whose output has no sides
                plain, end = end, output.shape[2 + side]
                if end > plain and not getattr(module, 'ceil_mode', False):
                    # It pads within its `forward`, as TensorFlow's "same" does.
                    padding = ((end - 1) * stride + reach + 1 - start) // 2
            found.add(Step(start, end, stride, reach / 2 - padding))

    hooks = [
        module.register_forward_hook(record)
        for module in backbone.modules()
        if isinstance(module, STRIDED)
    ]
    try:
        yield steps
    finally:
        for hook in hooks:
            hook.remove()


def _axis(steps: set[Step], size: int, cells: int) -> Axis:
    """From the pixels of one side of the input to its cells."""
    chains = [chain for chain in _chains(steps, size, cells) if chain]
    places = {_compose(chain) for chain in chains}
    if len(places) != 1:
        return Axis(cells / size)
    ((stride, first),) = places
    # Pixel p has its middle at p + 0.5, and so has cell i at i + 0.5.
    return Axis(1 / stride, 0.5 - (first + 0.5) / stride)


def _chains(steps: set[Step], start: int, end: int) -> list[tuple[Step, ...]]:
    """All ways from one length to another through layers.

    Before a layer, the far end may be padded to a multiple of its stride, as in Swin.
    """
    if start == end:
        return [()]
    return [
        (step, *rest)
        for step in steps
        if start <= step.start < start + step.stride and end <= step.end < start
        for rest in _chains(steps, step.end, end)
    ]


def _compose(chain: tuple[Step, ...]) -> tuple[int, float]:
    """The stride of several layers, and the pixel of the first cell."""
    stride, first = 1, 0.0
    for step in chain:
        first += stride * step.first
        stride *= step.stride
    return stride, first
