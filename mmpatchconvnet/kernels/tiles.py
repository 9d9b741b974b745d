"""How the kernels divide their maps: for each kernel, on each GPU that was tuned."""

import json
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

TILES = Path(__file__).with_name('tiles.json')


def tiles_of(kernel: str, x: Tensor) -> dict[str, int]:
    """Sizes of a kernel's tiles and its warps, on the GPU that holds x.

    Those of `default` where `tools/tune_kernels.py` has not seen this GPU.
    """
    device = torch.cuda.get_device_name(x.device) if x.is_cuda else 'cpu'
    tiles = read_tiles()
    return tiles.get(device, {}).get(kernel) or tiles['default'][kernel]


@cache
def read_tiles() -> dict[str, dict[str, dict[str, int]]]:
    return json.loads(TILES.read_text())
