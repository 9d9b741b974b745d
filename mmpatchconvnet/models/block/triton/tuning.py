"""Which tiles are fastest on this GPU, and how far that is from what it could do.

A kernel is limited by the maps it reads and writes or by its product; the ceilings are
measured as well, with a copy and a product of the library.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from statistics import geometric_mean

import torch

from mmpatchconvnet.experiments.rows import Row
from mmpatchconvnet.models.block.triton import gated_linear, gelu_depthwise, tiles

SHAPES = (  # S60 on ImageNet, S60 and B60 in a detector
    (64, 14, 14, 384),
    (2, 50, 84, 384),
    (2, 50, 84, 768),
)
STRIPS = dict(
    ROWS=(8, 16, 32), BLOCK_W=(4, 8, 16), BLOCK_C=(32, 64, 128), num_warps=(4, 8)
)
CANDIDATES: dict[str, dict[str, tuple[int, ...]]] = {
    'depthwise': STRIPS,
    'depthwise_backward': STRIPS,
    'gated_linear': dict(
        BLOCK_M=(64, 128),
        BLOCK_N=(64, 128, 256),
        BLOCK_K=(32, 64),
        num_warps=(4, 8),
        num_stages=(3, 4),
    ),
    'gate': dict(BLOCK_P=(16, 32, 64, 128), BLOCK_C=(32, 64, 128), num_warps=(2, 4, 8)),
}


@dataclass(frozen=True)
class Ceilings:
    """What the GPU reaches: bytes a second in a copy, FLOP a second in a product."""

    bandwidth: float
    product: float


@dataclass(frozen=True)
class Work:
    """A kernel on maps of one shape, and what it cannot do without."""

    shape: tuple[int, ...]
    run: Callable[[], object]
    moved: int  # bytes of the maps read and written
    flops: int  # of its product

    def bound(self, ceilings: Ceilings) -> float:
        """Seconds it takes at least."""
        return max(self.moved / ceilings.bandwidth, self.flops / ceilings.product)


def make_work(
    kernel: str, shape: tuple[int, ...], dtype: torch.dtype, device: str
) -> Work:
    """A kernel of `CANDIDATES` on random maps (B, H, W, C)."""

    def random(*size: int) -> torch.Tensor:
        return torch.randn(*size, device=device).to(dtype)

    batch, _, _, channels = shape
    x, y, gate = random(*shape), random(*shape), random(batch, channels)
    weight, bias = random(channels, 9), random(channels)
    square, scale = random(channels, channels), random(batch, channels)
    calls: dict[str, tuple[Callable[[], object], int]] = {
        'depthwise': (lambda: gelu_depthwise.gelu_depthwise(x, weight, bias), 2),
        'depthwise_backward': (
            lambda: gelu_depthwise.gelu_depthwise_backward(y, x, weight),
            3,
        ),
        'gated_linear': (
            lambda: gated_linear.gated_residual(x, y, gate, square, bias, scale),
            3,
        ),
        'gate': (lambda: gated_linear.gate_backward(x, y, gate), 3),
    }
    run, maps = calls[kernel]
    flops = 2 * x.numel() * channels if kernel == 'gated_linear' else 0
    return Work(shape, run, maps * x.numel() * x.element_size(), flops)


def candidates(kernel: str) -> Iterator[dict[str, int]]:
    sizes = CANDIDATES[kernel]
    for values in product(*sizes.values()):
        yield dict(zip(sizes, values, strict=True))


def tune(
    kernel: str,
    works: list[Work],
    place: str,
    timer: Callable[[Callable[[], object]], float],
    advance: Callable[[], None] = lambda: None,
) -> dict[str, int]:
    """The tiles with the least time over all works, by geometric mean.

    From here on this process uses them.

    Args:
        kernel: One of `CANDIDATES`.
        works: What is timed.
        place: GPU and width of the numbers, as in `tiles.json`.
        timer: Seconds of a call.
        advance: Called after each candidate, for a progress bar.

    Raises:
        RuntimeError: Nothing runs on this GPU.
    """
    chosen = tiles.read_tiles().setdefault(place, {})
    seconds: dict[str, float] = {}
    failure: Exception | None = None
    for sizes in candidates(kernel):
        chosen[kernel] = sizes
        try:
            times = [timer(work.run) for work in works]
            seconds[json.dumps(sizes)] = geometric_mean(times)
        except Exception as error:  # of many kinds: too little shared memory, and more
            failure = error
        advance()
    if not seconds:
        raise RuntimeError(f'no tiles of {kernel} run on {place}: {failure}')
    chosen[kernel] = json.loads(min(seconds, key=lambda sizes: seconds[sizes]))
    return chosen[kernel]


def measure_ceilings(
    dtype: torch.dtype, timer: Callable[[Callable[[], object]], float]
) -> Ceilings:
    """The ceilings of the current GPU, from a copy of 1 GB and a product of 8192."""
    x = torch.randn(8192, 8192, device='cuda').to(dtype)
    copied = torch.empty(2**30, dtype=torch.uint8, device='cuda')
    return Ceilings(
        bandwidth=2 * copied.nbytes / timer(copied.clone),
        product=2 * 8192**3 / timer(lambda: x @ x),
    )


def row_of(kernel: str, work: Work, seconds: float, ceilings: Ceilings) -> Row:
    """A line of the table: time, and the share of it that the GPU needs at least."""
    return {
        'kernel': kernel,
        'map': ' x '.join(map(str, work.shape)),
        'us': f'{1e6 * seconds:.1f}',
        'GB/s': f'{work.moved / seconds / 1e9:.0f}',
        'TFLOP/s': f'{work.flops / seconds / 1e12:.1f}',
        'of the roofline': f'{work.bound(ceilings) / seconds:.2f}',
    }


def write_tiles() -> None:
    """Keep what was found, one kernel a line."""
    lines = []
    for place, chosen in tiles.read_tiles().items():
        kernels = ',\n'.join(f'    "{k}": {json.dumps(v)}' for k, v in chosen.items())
        lines.append(f'  {json.dumps(place)}: {{\n{kernels}\n  }}')
    tiles.TILES.write_text('{\n' + ',\n'.join(lines) + '\n}\n')
