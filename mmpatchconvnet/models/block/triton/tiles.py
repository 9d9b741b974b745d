"""How the kernels divide their maps: for each kernel, on each GPU that was tuned."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

TILES = Path(__file__).with_name('tiles.json')


def tiles_of(kernel: str, x: Tensor) -> dict[str, int]:
    """Sizes of a kernel's tiles and its warps, on the GPU that holds x.

    Those of `default` where `tools/tune_kernels.py` has not seen this GPU and width.
    """
    tiles = read_tiles()
    return tiles.get(device_key(x), {}).get(kernel) or tiles['default'][kernel]


def device_key(x: Tensor) -> str:
    """The GPU that holds x, and how wide its numbers are: what tiles are tuned for."""
    device = torch.cuda.get_device_name(x.device) if x.is_cuda else 'cpu'
    return f'{device}, {8 * x.element_size()} bit'


def launch(kernel: Any, grid: tuple[int, ...], *args: Any, **sizes: Any) -> None:
    """Run a kernel on the GPU that holds its first argument."""
    with torch.cuda.device_of(args[0]):
        kernel[grid](*args, **sizes)


@cache
def read_tiles() -> dict[str, dict[str, dict[str, int]]]:
    return json.loads(TILES.read_text())
