"""The official names of the tensors of TransCNN and HAT-Net, and ours."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from mmpatchconvnet.checkpoints.conversion import (
    AS_SCHEME,
    PARTS,
    check_keys,
    check_kind,
    count_numbers,
    kind_of,
    merged,
    tensors_of,
)

Release = Literal['TransCNN', 'HAT-Net']

# Official key -> ours, the tables of a part without its own name. `*` stands for weight
# and bias, `@` for all tensors of a norm.
STEM = {'0.*': 'conv1.*', '1.@': 'norm.@', '3.*': 'conv2.*'}
ATTENTION = {'norm.@': 'norm.@', 'qkv.*': 'qkv.*', 'proj.*': 'proj.*'}
# In three of the four stages; the last one attends to the whole map.
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
RELEASES: tuple[Release, ...] = ('TransCNN', 'HAT-Net')
WINDOWS = (True, True, True, False)  # which of the official stages has them


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
            another backbone; nothing is converted.

    Example:
        >>> import torch
        >>> convert_transcnn_checkpoint({'pos_embed': torch.zeros(1)})
        Traceback (most recent call last):
        mmpatchconvnet.checkpoints.conversion.CheckpointError: this is no ...
    """
    official = tensors_of(state_dict)
    releases = (release,) if release else RELEASES
    check_kind(name, official, releases, AS_SCHEME)
    found = release_of(official) or releases[-1]
    if found == 'HAT-Net':
        official = {
            key: value
            for key, value in official.items()
            if not re.fullmatch(UNUSED, key)
        }
    depths = [count_numbers(rf'blocks\.{s}\.(\d+)\.', official) or 1 for s in range(4)]
    table = merged(rename_tables(found, depths))
    check_keys(
        official.keys(),
        table.keys(),
        f'{name} is no checkpoint of {" or ".join(releases)}',
        'give one of the official files, as it is',
    )
    return {ours: official[key] for key, ours in table.items()}


def convert_to_transcnn(state_dict: Mapping) -> dict[str, Tensor]:
    """Rename a classifier of ours for the official code.

    Args:
        state_dict: The tensors of an `mmpretrain.ImageClassifier` with `TransCNN` and
            `LinearClsHead`, bare or under `state_dict`, as mmengine saves them.

    Returns:
        The same tensors under the official names. HAT-Net also gets its `proj_norm`,
        which its code declares and does not use: weights of 1 and biases of 0.

    Raises:
        CheckpointError: A key is unknown or one is missing, as in a detector, which has
            no classifier, or with another `norm_cfg`; nothing is converted.
    """
    weights = tensors_of(state_dict)
    release = release_of(weights) or RELEASES[-1]
    table = merged(rename_tables(release, depths_of(weights)))
    check_keys(
        weights.keys(),
        set(table.values()),
        f'this is no classifier with the four stages and the norm of {release}',
        'the official code has names for nothing else',
    )
    official = {theirs: weights[ours] for theirs, ours in table.items()}
    if release == 'HAT-Net':
        for key in [key for key in official if key.endswith('.attn.norm.weight')]:
            unused = key.removesuffix('norm.weight') + 'proj_norm'
            official[f'{unused}.weight'] = torch.ones_like(official[key])
            official[f'{unused}.bias'] = torch.zeros_like(official[key])
    return official


def release_of(keys: Iterable[str]) -> Release | None:
    """The release whose keys these are, official ones or ours; None if of neither."""
    kind = kind_of(keys)
    return None if kind == 'PatchConvNet' else kind


def depths_of(weights: Iterable[str]) -> list[int]:
    """How many blocks the stages of a `TransCNN` of ours have, at least one stage."""
    pattern = r'backbone\.stages\.{}\.blocks\.(\d+)\.'
    depths = [count_numbers(pattern.format(s), weights) for s in range(4)]
    while len(depths) > 1 and not depths[-1]:  # a stage that was not built
        depths.pop()
    return [depth or 1 for depth in depths]


def transcnn_tables_for_ours(
    weights: Mapping[str, Tensor],
) -> dict[str, dict[str, str]]:
    """The tables of a checkpoint of ours, of any architecture and norm."""
    release = release_of(weights) or RELEASES[-1]
    depths = depths_of(weights)
    windows = [
        f'backbone.stages.{s}.blocks.0.attn.q.weight' in weights
        for s in range(len(depths))
    ]
    has_batch_norm = 'backbone.stem.norm.running_mean' in weights
    norm_parts = NORM_PARTS['TransCNN' if has_batch_norm else 'HAT-Net']
    return rename_tables(release, depths, windows, norm_parts)


def rename_tables(
    release: Release,
    depths: Sequence[int],
    windows: Sequence[bool] = WINDOWS,
    norm_parts: Sequence[str] = (),
) -> dict[str, dict[str, str]]:
    """Official key -> ours, for each part of a classifier.

    Args:
        release: Whose names.
        depths: Number of blocks of each stage.
        windows: Whether the attention of each stage has windows.
        norm_parts: Tensors of a norm, by default those of the release's own.
    """
    norm_parts = norm_parts or NORM_PARTS[release]
    tables: dict[str, dict[str, str]] = dict(stem={}, stages={}, head={})

    def add(part: str, official: str, ours: str, rows: Mapping[str, str]) -> None:
        for a, b in rows.items():
            tensors = norm_parts if a.endswith('@') else PARTS
            for tensor in tensors if a[-1] in '*@' else ('',):
                key = f'{official}.{a.rstrip("*@")}{tensor}'
                tables[part][key] = f'{ours}.{b.rstrip("*@")}{tensor}'

    add('stem', 'patch_embed', 'backbone.stem', STEM)
    for s, depth in enumerate(depths):
        stage = f'backbone.stages.{s}'
        if s:
            add('stages', f'ds{s + 1}', f'{stage}.downsample', DOWNSAMPLE[release])
        for i in range(depth):
            block, our_block = f'blocks.{s}.{i}', f'{stage}.blocks.{i}'
            add('stages', f'{block}.attn', f'{our_block}.attn', ATTENTION)
            if windows[s]:
                add('stages', f'{block}.attn', f'{our_block}.attn', IN_WINDOWS)
            add('stages', f'{block}.conv', f'{our_block}.ffn', FEED_FORWARD[release])
    add('head', 'classifier', 'head', {'1.*': 'fc.*'})
    return tables
