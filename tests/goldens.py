"""Weights and inputs of the goldens, generated as when they were recorded.

The figures in `tests/data/*_224.npz` were measured on the official implementation with
these weights: normal numbers whose seed is the official key's CRC-32.
"""

import math
import zlib

import numpy as np
import torch
from torch import Tensor


def normal(key: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)


def official_tensor(key: str, shape: tuple[int, ...]) -> Tensor:
    """The tensor of one official key, by the first rule that fits."""
    n, last = normal(key, shape), key.split('.')[-1]
    if last.startswith('gamma'):
        n = 0.1 + 0.02 * n
    elif 'norm' in key and last == 'weight':
        n = 1 + 0.1 * n
    elif last == 'bias':
        n = 0.02 * n
    elif key == 'cls_token':
        n = 0.5 * n
    else:
        n = n / math.sqrt(math.prod(shape[1:]))
    return torch.from_numpy(n.astype(np.float32))


def official_shapes(dims: int, depth: int, classes: int = 1000) -> dict[str, tuple]:
    """Every key of the official model with its shape; one token for the image."""
    reduced, hidden = round(dims * 0.25), 3 * dims
    widths = [3, dims // 8, dims // 4, dims // 2, dims]
    shapes: dict[str, tuple[int, ...]] = {'cls_token': (1, 1, dims)}

    def layer(name: str, out: int, *fan_in: int) -> None:
        shapes[f'{name}.weight'] = (out, *fan_in)
        shapes[f'{name}.bias'] = (out,)

    for i in range(4):
        name = f'patch_embed.proj.{2 * i}.0.weight'
        shapes[name] = (widths[i + 1], widths[i], 3, 3)
    for i in range(depth):
        block = f'blocks.{i}'
        shapes[f'{block}.gamma_1'] = (dims,)
        layer(f'{block}.norm1', dims)
        layer(f'{block}.attn.qkv_pos.0', dims, dims, 1, 1)
        layer(f'{block}.attn.qkv_pos.2', dims, 1, 3, 3)
        layer(f'{block}.attn.qkv_pos.4.conv_reduce', reduced, dims, 1, 1)
        layer(f'{block}.attn.qkv_pos.4.conv_expand', dims, reduced, 1, 1)
        layer(f'{block}.attn.qkv_pos.5', dims, dims, 1, 1)
    token = 'blocks_token_only.0'
    shapes[f'{token}.gamma_1'] = shapes[f'{token}.gamma_2'] = (dims,)
    for name in ('norm1', 'norm2'):
        layer(f'{token}.{name}', dims)
    for name in ('q', 'k', 'v', 'proj'):
        layer(f'{token}.attn.{name}', dims, dims)
    layer(f'{token}.mlp.fc1', hidden, dims)
    layer(f'{token}.mlp.fc2', dims, hidden)
    layer('norm', dims)
    layer('head', classes, dims)
    return shapes


def official_state_dict(
    dims: int, depth: int, classes: int = 1000
) -> dict[str, Tensor]:
    shapes = official_shapes(dims, depth, classes)
    return {key: official_tensor(key, shape) for key, shape in shapes.items()}


def golden_input(name: str, batch: int) -> Tensor:
    n = normal(name, (batch, 3, 224, 224))
    return torch.from_numpy(n.astype(np.float32))
