"""Files of checkpoints, fetched from the web where their name is a URL."""

import os
import tempfile
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, is_distributed

from mmpatchconvnet.checkpoints.conversion import CheckpointError
from mmpatchconvnet.checkpoints.reading import load_file

WEB = ('http://', 'https://')


def local_file(path: str) -> str:
    """The local file of a URL, downloaded if needed; any other path unchanged."""
    return str(fetch(path)) if path.startswith(WEB) else path


def fetch(url: str) -> Path:
    """The path of a file in torch's cache, downloaded if it is not there.

    One process of a machine downloads it while the others wait: all must call this.
    Without a process group, each process downloads it. As in torch, a file is cached
    under its own name, so two URLs with the same last part share it.

    Raises:
        CheckpointError: It cannot be downloaded, or is not a checkpoint.
    """
    name = Path(urlparse(url).path).name
    place = Path(torch.hub.get_dir(), 'checkpoints', name)
    try:
        if is_first_of_machine() and not place.is_file():
            download(url, place)
    finally:
        barrier()  # even after an error, or the others would wait forever
    if not place.is_file():
        raise CheckpointError(
            f'{place} is missing: the first process of this machine could not download '
            f'{url}; put it there.'
        )
    return place


def is_first_of_machine() -> bool:
    # Not mmengine's get_local_rank: it needs a process group that no launcher makes.
    return not is_distributed() or int(os.environ.get('LOCAL_RANK', 0)) == 0


def download(url: str, place: Path) -> None:
    """Fetch a checkpoint, whole or not at all."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix='.', dir=place.parent) as folder:
            partial = Path(folder, place.name)
            torch.hub.download_url_to_file(url, str(partial))
            try:
                load_file(partial)  # a broken connection truncates it without an error
            except CheckpointError as error:
                fault = str(error).replace(str(partial), f'the file from {url}')
                raise CheckpointError(
                    f'{fault[:-1]}; try again, or put it at {place}.'
                ) from None
            os.replace(partial, place)
    except (OSError, HTTPException) as error:
        raise CheckpointError(
            f'{url} cannot be downloaded ({error}): put it at {place}.'
        ) from None
