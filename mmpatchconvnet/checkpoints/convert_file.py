"""From one checkpoint file to another, with a report on what became of the names."""

import io
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from posixpath import commonpath
from typing import NamedTuple

import torch
from torch import Tensor

from mmpatchconvnet.atomic_files import atomic_write
from mmpatchconvnet.checkpoints.conversion import (
    CheckpointError,
    check_keys,
    convert_deit_checkpoint,
    convert_to_deit,
    count_numbers,
    kind_of,
    tables_for_ours,
    tensors_of,
)
from mmpatchconvnet.checkpoints.loading import read_weights
from mmpatchconvnet.checkpoints.transcnn import (
    RELEASES,
    convert_to_transcnn,
    convert_transcnn_checkpoint,
    transcnn_tables_for_ours,
)

MODES = ('to-ours', 'to-official', 'backbone')
SCHEMES = ('deit://', 'transcnn://', 'hatnet://')
NUMBERS = {part: rf'(?:backbone\.)?{part}\.(\d+)\.' for part in ('blocks', 'stages')}


class KeyGroup(NamedTuple):
    """A part of a checkpoint and what became of its names.

    `tensors` and `parameters` count what was written; of a part left out, where `new`
    is empty, what was given. `old` is empty for what only the official code has.
    """

    part: str
    tensors: int
    parameters: int
    old: str
    new: str


def convert_file(
    mode: str, source: str, target: str | Path, overwrite: bool = False
) -> list[KeyGroup]:
    """Convert a checkpoint; the new file is a bare dict of tensors.

    Args:
        mode: `to-ours` makes an official file an mmpretrain classifier, `to-official`
            is the way back, and `backbone` keeps only the PatchConvNet or TransCNN of a
            classifier, detector or segmentor.
        source: A file, a URL, one of mmengine's schemes, or `deit://`, `transcnn://` or
            `hatnet://` with the name or the file of an official one.
        target: The file to write, whole or not at all.
        overwrite: Replace the target if it exists.

    Returns:
        A row for each part that was written, then for each that was left out.

    Raises:
        CheckpointError: The target exists, or the source does not fit the mode.
    """
    if mode not in MODES:
        raise CheckpointError(f'mode={mode!r}: give one of {", ".join(MODES)}.')
    if Path(target).exists() and not overwrite:
        raise CheckpointError(f'{target} exists: give another name, or --overwrite.')
    given = read_weights(source)
    transcnn = kind_of(given) in RELEASES
    if mode == 'backbone':
        ours, written = given, backbone_weights(given)
    elif mode == 'to-official':
        convert = convert_to_transcnn if transcnn else convert_to_deit
        ours, written = given, convert(given)
    elif source.startswith(SCHEMES):  # converted while it was read
        ours = written = given
    elif transcnn:
        ours = written = convert_transcnn_checkpoint(given, name=source)
    else:
        ours = written = convert_deit_checkpoint(given, source)

    buffer = io.BytesIO()
    torch.save(written, buffer)
    atomic_write(target, buffer.getvalue())
    return key_report(mode, ours, written)


def backbone_weights(state_dict: Mapping) -> dict[str, Tensor]:
    """The backbone of a classifier, detector or segmentor of ours.

    Args:
        state_dict: The model's tensors, bare or under `state_dict`. A dense model holds
            the blocks or stages up to its last tap; the rest was never built.

    Returns:
        The tensors under `backbone.`, without that prefix: what `PatchConvNet` or
        `TransCNN` loads.

    Raises:
        CheckpointError: A backbone's key is missing, or there is an unknown one.
    """
    backbone = {
        key: value
        for key, value in tensors_of(state_dict).items()
        if key.startswith('backbone.')
    }
    tables = tables_of(backbone)
    tables.pop('head')
    tables.pop('pooling', None)
    check_keys(
        backbone.keys(),
        {ours for table in tables.values() for ours in table.values()},
        f'there is no {kind_of(backbone) or "PatchConvNet or TransCNN"} under '
        "'backbone.'",
        'give a classifier, detector or segmentor that has one',
    )
    return {key.removeprefix('backbone.'): value for key, value in backbone.items()}


def tables_of(ours: Mapping[str, Tensor]) -> dict[str, dict[str, str]]:
    """Official key -> ours, for each part of a checkpoint under our names."""
    if kind_of(ours) in RELEASES:
        return transcnn_tables_for_ours(ours)
    return tables_for_ours(ours)


def key_report(
    mode: str, ours: Mapping[str, Tensor], written: Mapping[str, Tensor]
) -> list[KeyGroup]:
    """The rows of a report.

    Args:
        mode: One of `MODES`.
        ours: The checkpoint under our names.
        written: The new file's tensors.
    """
    rows, taken, named = [], set(), set()
    for part, table in tables_of(ours).items():
        if mode == 'to-ours':
            pairs = list(table.items())
        elif mode == 'to-official':
            pairs = [(our, official) for official, our in table.items()]
        else:
            pairs = [(our, our.removeprefix('backbone.')) for our in table.values()]
        pairs = [(old, new) for old, new in pairs if new in written]
        old, new = {old for old, _ in pairs}, {new for _, new in pairs}
        if part in NUMBERS:
            part = f'{part} ({count_numbers(NUMBERS[part], old | new)})'
        if pairs:
            rows.append(KeyGroup(part, *size(written, new), pattern(old), pattern(new)))
        taken |= old
        named |= new
    if added := written.keys() - named:
        rows.append(KeyGroup('unused', *size(written, added), '', pattern(added)))
    if mode == 'backbone':
        for part, keys in by_first_name(ours.keys() - taken):
            rows.append(KeyGroup(part, *size(ours, keys), pattern(keys), ''))
    return rows


def size(weights: Mapping[str, Tensor], keys: Collection[str]) -> tuple[int, int]:
    """Number of tensors and of parameters under these keys."""
    return len(keys), sum(weights[key].numel() for key in keys)


def pattern(keys: Iterable[str]) -> str:
    """What the keys have in common, for each of their first names.

    Example:
        >>> pattern({'norm.bias', 'head.fc.weight', 'head.fc.bias'})
        'head.fc.*, norm.bias'
    """
    patterns = []
    for _, group in by_first_name(keys):
        common = commonpath(key.replace('.', '/') for key in group).replace('/', '.')
        patterns.append(common if len(group) == 1 else f'{common}.*')
    return ', '.join(patterns)


def by_first_name(keys: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """The keys in groups of one name before the first dot."""
    for name, group in groupby(sorted(keys), key=lambda key: key.split('.')[0]):
        yield name, list(group)
