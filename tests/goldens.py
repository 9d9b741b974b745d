"""Weights and inputs of the goldens, generated as when they were recorded.

The figures in `tests/data/[SBHT]*.npz` were measured on the official implementations
with these weights: normal numbers whose seed is the official key's CRC-32.
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


def transcnn_tensor(key: str, shape: tuple[int, ...]) -> Tensor:
    """The tensor of one official key of TransCNN or HAT-Net."""
    n, last = normal(key, shape), key.split('.')[-1]
    if last == 'num_batches_tracked':
        return torch.tensor(0)
    if last in ('bias', 'running_mean'):
        n = 0.02 * n
    elif last == 'running_var':
        n = 1 + 0.1 * abs(n)
    elif len(shape) == 1:
        n = 1 + 0.1 * n
    else:
        n = n / math.sqrt(math.prod(shape[1:]))
    return torch.from_numpy(n.astype(np.float32))


def transcnn_shapes(arch: dict, classes: int = 1000) -> dict[str, tuple]:
    """Every key of the official TransCNN or HAT-Net with its shape."""
    revised, all_dims = arch['revised'], arch['embed_dims']
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(name: str, out: int, *fan_in: int) -> None:
        shapes[f'{name}.weight'] = (out, *fan_in)
        shapes[f'{name}.bias'] = (out,)

    def norm(name: str, dims: int) -> None:
        layer(name, dims)
        if not revised:
            shapes[f'{name}.running_mean'] = shapes[f'{name}.running_var'] = (dims,)
            shapes[f'{name}.num_batches_tracked'] = ()

    layer('patch_embed.0', 16, 3, 3, 3)
    norm('patch_embed.1', 16)
    layer('patch_embed.3', all_dims[0], 16, 3, 3)
    for s, dims in enumerate(all_dims):
        width, side = arch['expansions'][s] * dims, arch['kernel_sizes'][s]
        for i in range(arch['depths'][s]):
            attn, conv = f'blocks.{s}.{i}.attn', f'blocks.{s}.{i}.conv'
            norm(f'{attn}.norm', dims)
            layer(f'{attn}.qkv', 3 * dims, dims, 1, 1)
            layer(f'{attn}.proj', dims, dims, 1, 1)
            if revised:
                norm(f'{attn}.proj_norm', dims)
            if s < 3:
                norm(f'{attn}.grid_norm', dims)
                norm(f'{attn}.ds_norm', dims)
                layer(f'{attn}.q', dims, dims, 1, 1)
                layer(f'{attn}.kv', 2 * dims, dims, 1, 1)
            shapes[f'{conv}.conv1.{int(revised)}.weight'] = (width, dims, 1, 1)
            shapes[f'{conv}.conv2.0.weight'] = (width, 1, side, side)
            shapes[f'{conv}.conv3.0.weight'] = (dims, width, 1, 1)
            norm(f'{conv}.conv3.1', dims)
            if revised:
                norm(f'{conv}.conv1.0', dims)
            else:
                norm(f'{conv}.conv1.1', width)
                norm(f'{conv}.conv2.1', width)
        if s:
            ds, before = f'ds{s + 1}', all_dims[s - 1]
            layer(f'{ds}.conv', dims, before, 3, 3)
            if revised:
                norm(f'{ds}.norm', dims)
            else:
                layer(f'{ds}.residual', dims, before, 1, 1)
                norm(f'{ds}.norm1', dims)
                norm(f'{ds}.norm2', dims)
    layer('classifier.1', classes, all_dims[-1])
    return shapes


def transcnn_state_dict(arch: dict, classes: int = 1000) -> dict[str, Tensor]:
    shapes = transcnn_shapes(arch, classes)
    return {key: transcnn_tensor(key, shape) for key, shape in shapes.items()}


def golden_input(name: str, batch: int, side: int = 224) -> Tensor:
    n = normal(name, (batch, 3, side, side))
    return torch.from_numpy(n.astype(np.float32))
