"""The official files and the schemes `deit://NAME`, `transcnn://NAME` and
`hatnet://NAME`, which give them our names.

They are listed in
https://github.com/facebookresearch/deit/blob/main/README_patchconvnet.md and
https://github.com/yun-liu/HAT-Net
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from torch import Tensor

from mmpatchconvnet.atomic_files import atomic_write
from mmpatchconvnet.checkpoints.conversion import (
    CheckpointError,
    convert_deit_checkpoint,
)
from mmpatchconvnet.checkpoints.files import fetch, is_first_of_machine
from mmpatchconvnet.checkpoints.reading import load_file
from mmpatchconvnet.checkpoints.transcnn import Release, convert_transcnn_checkpoint

OFFICIAL_URL = 'https://dl.fbaipublicfiles.com/deit'
OFFICIAL_FILES = (
    's60_224_1k',
    's120_224_1k',
    'b60_224_1k',
    'b120_224_1k',
    's60_224_21k',
    's60_384_21k',
    's60_512_21k',
    'b60_224_21k',
    'b60_384_21k',
    'b120_224_21k',
    'b120_384_21k',
    's60_multi_scratch_1k',
    's60_multi_finetune_1k',
)
GITHUB = 'https://github.com/yun-liu'
TRANSCNN_URLS: dict[Release, str] = {
    'TransCNN': f'{GITHUB}/TransCNN/releases/download/v1.0/TransCNN-{{}}.pth',
    'HAT-Net': f'{GITHUB}/HAT-Net/releases/download/v2.0/HAT-Net_{{}}.pth',
}
TRANSCNN_FILES = ('tiny', 'small', 'medium', 'large')


@CheckpointLoader.register_scheme(prefixes='deit://')
def load_deit_checkpoint(
    filename: str, map_location: str | torch.device | None = None
) -> dict:
    """What `deit://s60_224_1k` stands for: the official file, converted in memory.

    `deit://PATH` reads a file. A name is looked for where torch keeps its downloads
    (`$TORCH_HOME/hub/checkpoints/s60_224_1k.pth`) and downloaded to that place, by one
    process of a machine, if it is not there. All processes must call this.

    The official names hold no hash to compare with. The SHA-256 of what was found at
    first use, downloaded or put there by hand, is therefore stored next to the file,
    for `sha256sum -c`, and a file that has changed since is an error.

    Args:
        filename: `deit://` with a file or the name of an official one.
        map_location: Where the tensors go, as in `torch.load`.

    Returns:
        The tensors with our names, under `state_dict`.

    Raises:
        CheckpointError: There is neither such a file nor an official one of this name,
            it cannot be downloaded, it is not the one that was used first, or it is one
            of another backbone.
    """
    name = filename.removeprefix('deit://')

    def convert(checkpoint: Mapping) -> dict[str, Tensor]:
        return convert_deit_checkpoint(checkpoint, filename)

    if Path(name).is_file():
        return dict(state_dict=convert(load_file(name, map_location)))
    if name not in OFFICIAL_FILES:
        raise CheckpointError(
            f'{filename} is no official checkpoint: give deit:// with a file or one of '
            f'{", ".join(OFFICIAL_FILES)}.'
        )
    url = f'{OFFICIAL_URL}/{name}.pth'
    return dict(state_dict=load_official(url, convert, map_location))


@CheckpointLoader.register_scheme(prefixes=('transcnn://', 'hatnet://'))
def load_transcnn_checkpoint(
    filename: str, map_location: str | torch.device | None = None
) -> dict:
    """What `transcnn://tiny` and `hatnet://tiny` stand for: the official file,
    converted in memory.

    The names are `tiny`, `small`, `medium` and `large`, of TransCNN or of HAT-Net.
    `transcnn://PATH` and `hatnet://PATH` read a file. Download, cache and hash are as
    with `load_deit_checkpoint`; the file keeps its own name in the cache, such as
    `TransCNN-Tiny.pth` or `HAT-Net_Tiny.pth`.

    Args:
        filename: `transcnn://` or `hatnet://` with a file or the name of an official
            one.
        map_location: Where the tensors go, as in `torch.load`.

    Returns:
        The tensors with our names, under `state_dict`.

    Raises:
        CheckpointError: There is neither such a file nor an official one of this name,
            it cannot be downloaded, it is not the one that was used first, or it is one
            of another backbone.
    """
    scheme, _, name = filename.partition('://')
    release: Release = 'TransCNN' if scheme == 'transcnn' else 'HAT-Net'

    def convert(checkpoint: Mapping) -> dict[str, Tensor]:
        return convert_transcnn_checkpoint(checkpoint, release, filename)

    if Path(name).is_file():
        return dict(state_dict=convert(load_file(name, map_location)))
    if name not in TRANSCNN_FILES:
        raise CheckpointError(
            f'{filename} is no official checkpoint: give {scheme}:// with a file or '
            f'one of {", ".join(TRANSCNN_FILES)}.'
        )
    url = TRANSCNN_URLS[release].format(name.capitalize())
    return dict(state_dict=load_official(url, convert, map_location))


def load_official(
    url: str,
    convert: Callable[[Mapping], dict[str, Tensor]],
    map_location: str | torch.device | None,
) -> dict[str, Tensor]:
    """The tensors of an official file with our names, from the cache or the web."""
    place = fetch(url)
    check_hash(place)
    weights = convert(load_file(place, map_location))
    # Only now, as a record of a truncated file would refuse the whole one.
    if is_first_of_machine() and not record_of(place).exists():
        record_hash(place)
    return weights


def record_of(place: Path) -> Path:
    """Where the hash of a file is recorded."""
    return place.with_name(f'{place.name}.sha256')


def record_hash(place: Path) -> None:
    """Record the SHA-256 of a file next to it, in the format of `sha256sum`."""
    record = record_of(place)
    try:
        atomic_write(record, f'{sha256_of(place)}  {place.name}\n'.encode())
    except OSError as error:  # a shared cache may be read-only
        print_log(f'{place} is used without a record of its hash: {error}', 'current')


def check_hash(place: Path) -> None:
    """Raise if a file is not the one whose hash is stored next to it."""
    record = record_of(place)
    if record.is_file() and sha256_of(place) not in record.read_text().split():
        raise CheckpointError(
            f'{place} has changed since {record} was written: delete both to download '
            'it again, or only the record if you trust the new file.'
        )


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
