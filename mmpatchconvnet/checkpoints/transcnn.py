"""The official names of the tensors of TransCNN and HAT-Net, and ours."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from torch import Tensor

from mmpatchconvnet.checkpoints.conversion import (
    PARTS,
    CheckpointError,
    check_keys,
    count_numbers,
    tensors_of,
)

Release = Literal['TransCNN', 'HAT-Net']

# Official key -> ours, the tables of a part without its own name. `*` stands for weight
# and bias, `@` for all tensors of a norm.
STEM = {'0.*': 'conv1.*', '1.@': 'norm.@', '3.*': 'conv2.*'}
ATTENTION = {'norm.@': 'norm.@', 'qkv.*': 'qkv.*', 'proj.*': 'proj.*'}
# In three of the four stages; the last one attends to the map at once.
IN_WINDOWS = {
    'grid_norm.@': 'grid_norm.@',
    'q.*': 'q.*',
    'ds_norm.@': 'pool_norm.@',
    'kv.*': 'kv.*',
}
FEED_FORWARD: dict[Release, dict[str, str]] = {
    'TransCNN': {
        'conv1.0.weight': 'expand.weight',
        'conv1.1.@': 'norm1.@',
        'conv2.0.weight': 'depthwise.weight',
        'conv2.1.@': 'norm2.@',
        'conv3.0.weight': 'reduce.weight',
        'conv3.1.@': 'norm_out.@',
    },
    'HAT-Net': {
        'conv1.0.@': 'norm_in.@',
        'conv1.1.weight': 'expand.weight',
        'conv2.0.weight': 'depthwise.weight',
        'conv3.0.weight': 'reduce.weight',
        'conv3.1.@': 'norm_out.@',
    },
}
DOWNSAMPLE: dict[Release, dict[str, str]] = {
    'TransCNN': {
        'conv.*': 'conv.*',
        'norm1.@': 'norm.@',
        'residual.*': 'residual.*',
        'norm2.@': 'residual_norm.@',
    },
    'HAT-Net': {'conv.*': 'conv.*', 'norm.@': 'norm.@'},
}
NORM_PARTS: dict[Release, tuple[str, ...]] = {
    'TransCNN': (*PARTS, 'running_mean', 'running_var', 'num_batches_tracked'),
    'HAT-Net': PARTS,
}
# Declared in every attention of HAT-Net and used in none.
UNUSED = r'blocks\.\d+\.\d+\.attn\.proj_norm\.(weight|bias)'
# Keys that only one release has, official ones and ours: a norm of each block.
MARKS: dict[Release, str] = {
    'TransCNN': r'\.conv\.conv1\.1\.bias$|\.ffn\.norm1\.',
    'HAT-Net': r'\.conv\.conv1\.0\.bias$|\.ffn\.norm_in\.',
}
ARCHS: dict[Release, str] = {
    'TransCNN': 'tiny, small, medium or large',
    'HAT-Net': 'hat_tiny, hat_small, hat_medium or hat_large',
}


def convert_transcnn_checkpoint(
    state_dict: Mapping, release: Release | None = None, name: str = 'this'
) -> dict[str, Tensor]:
    """Rename an official checkpoint for `mmpretrain.ImageClassifier`.

    Args:
        state_dict: The official tensors of TransCNN or HAT-Net, bare or under `model`
            or `state_dict`.
        release: `TransCNN` or `HAT-Net` to refuse the other one.
        name: The checkpoint's name in errors.

    Returns:
        The same tensors under `backbone.` and `head.`, for `TransCNN`,
        `GlobalAveragePooling` and `LinearClsHead`, without the `proj_norm` of HAT-Net,
        which its forward pass does not use.

    Raises:
        CheckpointError: A key is unknown or one is missing, or it is a checkpoint of
            the other release; nothing is converted.

    Example:
        >>> import torch
        >>> convert_transcnn_checkpoint({'pos_embed': torch.zeros(1)})
        Traceback (most recent call last):
        mmpatchconvnet.checkpoints.conversion.CheckpointError: this is no ...
    """
    official = tensors_of(state_dict)
    if release:
        check_release(name, official, release)
    found = release_of(official) or release or 'HAT-Net'
    if found == 'HAT-Net':
        official = {
            key: value
            for key, value in official.items()
            if not re.fullmatch(UNUSED, key)
        }
    depths = [count_numbers(rf'blocks\.{s}\.(\d+)\.', official) or 1 for s in range(4)]
    table = rename_table(found, depths)
    check_keys(
        official.keys(),
        table.keys(),
        f'{name} is no checkpoint of {release or "TransCNN or HAT-Net"}',
        'give one of the official files, as it is',
    )
    return {ours: official[key] for key, ours in table.items()}


def release_of(keys: Iterable[str]) -> Release | None:
    """The release whose keys these are, official ones or ours; None if of neither."""
    keys = list(keys)
    for release, mark in MARKS.items():
        if any(re.search(mark, key) for key in keys):
            return release
    return None


def check_release(name: str, keys: Iterable[str], release: Release) -> None:
    """Raise if the keys of a checkpoint are those of the other release."""
    found = release_of(keys)
    if found and found != release:
        raise CheckpointError(
            f'{name} is a checkpoint of {found}, not of {release}: give arch='
            f'{ARCHS[found]} for it, or a checkpoint of {release}.'
        )


def rename_table(release: Release, depths: Sequence[int]) -> dict[str, str]:
    """Official key -> ours, for four stages of these depths."""
    table: dict[str, str] = {}

    def add(official: str, ours: str, rows: Mapping[str, str]) -> None:
        for a, b in rows.items():
            parts = NORM_PARTS[release] if a.endswith('@') else PARTS
            for part in parts if a[-1] in '*@' else ('',):
                key = f'{official}.{a.rstrip("*@")}{part}'
                table[key] = f'{ours}.{b.rstrip("*@")}{part}'

    add('patch_embed', 'backbone.stem', STEM)
    for s, depth in enumerate(depths):
        stage = f'backbone.stages.{s}'
        if s:
            add(f'ds{s + 1}', f'{stage}.downsample', DOWNSAMPLE[release])
        for i in range(depth):
            block, our_block = f'blocks.{s}.{i}', f'{stage}.blocks.{i}'
            add(f'{block}.attn', f'{our_block}.attn', ATTENTION)
            if s < len(depths) - 1:
                add(f'{block}.attn', f'{our_block}.attn', IN_WINDOWS)
            add(f'{block}.conv', f'{our_block}.ffn', FEED_FORWARD[release])
    add('classifier', 'head', {'1.*': 'fc.*'})
    return table
