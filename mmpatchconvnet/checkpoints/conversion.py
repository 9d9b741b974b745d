"""The official names of a PatchConvNet's tensors, ours, and the way between them.

One set of tables serves both directions, so that neither can drift from the other.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Literal

import torch
from torch import Tensor

from mmpatchconvnet.checkpoints.stems import stem_keys, stride_of

Kind = Literal['PatchConvNet', 'TransCNN', 'HAT-Net']
# Keys that only one kind of backbone has, official ones and ours.
MARKS: dict[Kind, str] = {
    'PatchConvNet': r'(^|\.)blocks\.\d+\.gamma(_1)?$',
    'TransCNN': r'\.conv\.conv1\.1\.bias$|\.ffn\.norm1\.',
    'HAT-Net': r'\.conv\.conv1\.0\.bias$|\.ffn\.norm_in\.',
}
AS_SCHEME: dict[Kind, str] = {
    'PatchConvNet': 'give deit://FILE',
    'TransCNN': 'give transcnn://FILE',
    'HAT-Net': 'give hatnet://FILE',
}


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, said in one sentence."""


def kind_of(keys: Iterable[str]) -> Kind | None:
    """Whose keys these are, official ones or ours; None if they are of no kind."""
    keys = list(keys)
    for kind, mark in MARKS.items():
        if any(re.search(mark, key) for key in keys):
            return kind
    return None


def check_kind(
    name: str, keys: Iterable[str], kinds: Sequence[Kind], remedies: Mapping[Kind, str]
) -> None:
    """Raise if the keys of a checkpoint are of a kind, but of none of these.

    Args:
        name: The checkpoint's name.
        keys: Its keys, official ones or ours.
        kinds: What it may be.
        remedies: What to do with a checkpoint of each kind.
    """
    found = kind_of(keys)
    if found and found not in kinds:
        wanted = ' or '.join(kinds)
        raise CheckpointError(
            f'{name} is a checkpoint of {found}, not of {wanted}: '
            f'{remedies[found]} for it, or a checkpoint of {wanted}.'
        )


# Official key -> ours. `*` stands for weight and bias, {i} for the number of a block or
# of a class.
PARTS = ('weight', 'bias')
STEM = {
    'patch_embed.proj.0.0.weight': 'backbone.stem.convs.0.weight',
    'patch_embed.proj.2.0.weight': 'backbone.stem.convs.1.weight',
    'patch_embed.proj.4.0.weight': 'backbone.stem.convs.2.weight',
    'patch_embed.proj.6.0.weight': 'backbone.stem.convs.3.weight',
}
BLOCK = {
    'blocks.{i}.gamma_1': 'backbone.blocks.{i}.gamma',
    'blocks.{i}.norm1.*': 'backbone.blocks.{i}.norm.*',
    'blocks.{i}.attn.qkv_pos.0.*': 'backbone.blocks.{i}.pointwise_in.*',
    'blocks.{i}.attn.qkv_pos.2.*': 'backbone.blocks.{i}.depthwise.*',
    'blocks.{i}.attn.qkv_pos.4.conv_reduce.*': 'backbone.blocks.{i}.gate.reduce.*',
    'blocks.{i}.attn.qkv_pos.4.conv_expand.*': 'backbone.blocks.{i}.gate.expand.*',
    'blocks.{i}.attn.qkv_pos.5.*': 'backbone.blocks.{i}.pointwise_out.*',
}
# Further keys of a block with `norm_cfg=dict(type='BN')`; official blocks have none.
BATCH_NORM = {
    f'blocks.{{i}}.norm1.{name}': f'backbone.blocks.{{i}}.norm.{name}'
    for name in ('running_mean', 'running_var', 'num_batches_tracked')
}
POOLING = {
    'cls_token': 'neck.cls_token',
    'blocks_token_only.0.gamma_1': 'neck.gamma_1',
    'blocks_token_only.0.gamma_2': 'neck.gamma_2',
    'blocks_token_only.0.norm1.*': 'neck.norm1.*',
    'blocks_token_only.0.norm2.*': 'neck.norm2.*',
    'blocks_token_only.0.attn.q.*': 'neck.attn.q.*',
    'blocks_token_only.0.attn.k.*': 'neck.attn.k.*',
    'blocks_token_only.0.attn.v.*': 'neck.attn.v.*',
    'blocks_token_only.0.attn.proj.*': 'neck.attn.proj.*',
    'blocks_token_only.0.mlp.fc1.*': 'neck.mlp.fc1.*',
    'blocks_token_only.0.mlp.fc2.*': 'neck.mlp.fc2.*',
    'norm.*': 'neck.norm.*',
}
HEAD = {'head.*': 'head.fc.*'}
# One token and one head for each class: the heads are the rows of our one tensor.
TOKEN_HEAD = {'head.{i}.*': 'head.*'}


def rename_tables(depth: int, num_heads: int) -> dict[str, dict[str, str]]:
    """Official key -> ours, for each part of a classifier.

    Args:
        depth: Number of blocks.
        num_heads: Number of heads if there is one for each class, else 0.
    """
    head = numbered(TOKEN_HEAD, num_heads) if num_heads else HEAD.items()
    return {
        'stem': dict(expand(STEM.items())),
        'blocks': dict(expand(numbered(BLOCK, depth))),
        'pooling': dict(expand(POOLING.items())),
        'head': dict(expand(head)),
    }


def numbered(table: Mapping[str, str], count: int) -> Iterator[tuple[str, str]]:
    """The rows of a table for each number below `count`."""
    for i in range(count):
        for official, ours in table.items():
            yield official.format(i=i), ours.format(i=i)


def expand(rows: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Each row as it is, or once for the weight and once for the bias."""
    for official, ours in rows:
        if official.endswith('*'):
            for part in PARTS:
                yield official.replace('*', part), ours.replace('*', part)
        else:
            yield official, ours


def merged(tables: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The tables of all parts as one."""
    return {a: b for table in tables.values() for a, b in table.items()}


def tables_for_official(weights: Mapping[str, Tensor]) -> dict[str, dict[str, str]]:
    """The tables of what looks like an official checkpoint, with at least one block."""
    return rename_tables(
        depth=count_numbers(r'blocks\.(\d+)\.', weights) or 1,
        num_heads=count_numbers(r'head\.(\d+)\.', weights),
    )


def tables_for_ours(weights: Mapping[str, Tensor]) -> dict[str, dict[str, str]]:
    """The tables of what looks like a checkpoint of ours, with at least one block."""
    depth = count_numbers(r'backbone\.blocks\.(\d+)\.', weights) or 1
    tables = rename_tables(depth, num_heads=len(weights.get('head.weight', ())))
    if other := other_stride(weights):  # the official code has no such stem
        keys = sorted(stem_keys(other))
        tables['stem'] = {f'patch_embed.{key}': f'backbone.{key}' for key in keys}
    if has_batch_norm(weights):
        tables['blocks'].update(numbered(BATCH_NORM, depth))
    return tables


def other_stride(weights: Mapping[str, Tensor]) -> int | None:
    """The stride of a column of ours, if it is not the official 16."""
    stride = stride_of(key.removeprefix('backbone.') for key in weights)
    return None if stride == 16 else stride


def has_batch_norm(weights: Mapping[str, Tensor]) -> bool:
    """Whether a column of ours has BatchNorm in its blocks."""
    return 'backbone.blocks.0.norm.running_mean' in weights


def count_numbers(pattern: str, keys: Iterable[str]) -> int:
    """How many numbers occur where the pattern has its group."""
    matches = (re.match(pattern, key) for key in keys)
    return len({found[1] for found in matches if found})


def convert_deit_checkpoint(
    state_dict: Mapping, name: str = 'this'
) -> dict[str, Tensor]:
    """Rename an official checkpoint for `mmpretrain.ImageClassifier`.

    Args:
        state_dict: The official tensors, bare or under `model`. A model with one token
            for each class (`s60_multi_*`) is recognized by its many heads, which become
            the one weight (K, C) and bias (K,) of `PerTokenLinearHead`.
        name: The checkpoint's name in errors.

    Returns:
        The same tensors under `backbone.`, `neck.` and `head.`.

    Raises:
        CheckpointError: A key is unknown or one is missing, or it is a checkpoint of
            another backbone; nothing is converted.

    Example:
        >>> convert_deit_checkpoint({'pos_embed': torch.zeros(1)})
        Traceback (most recent call last):
        mmpatchconvnet.checkpoints.conversion.CheckpointError: this is no ...
    """
    official = tensors_of(state_dict)
    check_kind(name, official, ('PatchConvNet',), AS_SCHEME)
    table = merged(tables_for_official(official))
    check_keys(
        official.keys(),
        table.keys(),
        f'{name} is no PatchConvNet checkpoint',
        'give one of the official files, as it is',
    )
    converted = {}
    for ours, names in inverted(table).items():
        rows = [official[name] for name in names]
        converted[ours] = torch.cat(rows) if len(rows) > 1 else rows[0]
    return converted


def convert_to_deit(state_dict: Mapping) -> dict[str, Tensor]:
    """Rename a classifier of ours for the official code.

    Args:
        state_dict: The tensors of an `mmpretrain.ImageClassifier` with `PatchConvNet`,
            `AttentionPooling` and `LinearClsHead` or `PerTokenLinearHead`, bare or
            under `state_dict`, as mmengine saves them.

    Returns:
        The same tensors under the official names; with one token for each class, one
        head (1, C) and bias (1,) for each.

    Raises:
        CheckpointError: A key is unknown or one is missing, as in a detector, which
            has no pooling, its blocks have BatchNorm, or its column has another stride
            than 16; nothing is converted.
    """
    weights = tensors_of(state_dict)
    if has_batch_norm(weights):
        raise CheckpointError(
            'the blocks of this checkpoint have BatchNorm, those of the official code '
            'LayerNorm: give a classifier that was trained with norm_cfg=None.'
        )
    if other := other_stride(weights):
        raise CheckpointError(
            f'the column of this checkpoint has stride {other}, that of the official '
            'code 16: give a classifier that was trained with patch_size=16.'
        )
    names_of = inverted(merged(tables_for_ours(weights)))
    check_keys(
        weights.keys(),
        names_of.keys(),
        'this is no classifier with PatchConvNet and AttentionPooling',
        'the official code has names for nothing else',
    )
    official = {}
    for ours, names in names_of.items():
        if len(names) == 1:
            official[names[0]] = weights[ours]
            continue
        rows = weights[ours].split(1)
        if len(rows) != len(names):
            raise CheckpointError(
                f'{ours} has {len(rows)} rows for {len(names)} classes: give a '
                'checkpoint whose head.weight and head.bias have one row for each.'
            )
        # Copies, as a view is saved with everything it is a view of.
        for name, row in zip(names, rows, strict=True):
            official[name] = row.clone()
    return official


def inverted(table: Mapping[str, str]) -> dict[str, list[str]]:
    """Our key -> its official ones: several where each is a row of ours."""
    names: dict[str, list[str]] = {}
    for official, ours in table.items():
        names.setdefault(ours, []).append(official)
    return names


def tensors_of(checkpoint: Mapping) -> dict[str, Tensor]:
    """What is under `state_dict` or `model`, or all of it.

    Optimizer and `ema_state_dict` stay behind. mmengine's EMAHook has put the averaged
    weights, which are those it evaluates, under `state_dict`.

    Raises:
        CheckpointError: There are no named tensors.
    """
    tensors = checkpoint
    for key in ('state_dict', 'model'):
        if isinstance(tensors, Mapping):
            tensors = tensors.get(key, tensors)
    if not isinstance(tensors, Mapping):
        raise CheckpointError(
            f'a checkpoint that holds a {type(tensors).__name__} has no named tensors: '
            'give a saved state_dict.'
        )
    return dict(tensors)


def check_keys(given: Set[str], expected: Set[str], subject: str, remedy: str) -> None:
    """Raise unless the two are equal, naming some of the keys that differ."""
    unknown, missing = sorted(given - expected), sorted(expected - given)
    faults = [
        f'{fault} {len(keys)} keys {", ".join(keys[:3])}{" ..." * (len(keys) > 3)}'
        for fault, keys in (('has the unknown', unknown), ('misses the', missing))
        if keys
    ]
    if faults:
        raise CheckpointError(f'{subject}: it {" and ".join(faults)}; {remedy}.')
