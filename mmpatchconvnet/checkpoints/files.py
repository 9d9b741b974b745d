"""Files of checkpoints: read without running code in them, fetched from the web."""

import os
import tempfile
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, is_distributed
from mmengine.runner import checkpoint as mmengine_checkpoint

from mmpatchconvnet.checkpoints.conversion import CheckpointError

WEB = ('http://', 'https://')


def load_file(
    path: str | Path, map_location: str | torch.device | None = 'cpu'
) -> dict:
    """Read a file that holds tensors, and besides at most what mmengine logs."""
    # The classes of mmengine's log buffers; older versions do not list them.
    allowed: list = getattr(mmengine_checkpoint, 'get_torch_safe_globals', list)()
    torch.serialization.add_safe_globals(allowed)
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(
            f'{path} is torn or holds more than tensors: give a checkpoint that is '
            'whole and saved as a state_dict.'
        ) from error


def local_file(path: str) -> str:
    """Anything but a URL as it is, and of a URL the file that it is fetched to."""
    return str(fetch(path)) if path.startswith(WEB) else path


def fetch(url: str) -> Path:
    """The place of a file in torch's cache, downloaded if it is not there.

    One process of a machine downloads it while the others wait: all must call this.
    Before processes know of each other, each downloads for itself. As torch has it, a
    place goes by the file's name: two URLs that end alike share it.

    Raises:
        CheckpointError: It cannot be downloaded, or is no checkpoint.
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
    # Not mmengine's get_local_rank: it asks for a process group that no launcher makes.
    return not is_distributed() or int(os.environ.get('LOCAL_RANK', 0)) == 0


def download(url: str, place: Path) -> None:
    """Fetch a checkpoint, whole or not at all."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix='.', dir=place.parent) as folder:
            partial = Path(folder, place.name)
            torch.hub.download_url_to_file(url, str(partial))
            load_file(partial)  # a broken connection leaves a torn file and no error
            os.replace(partial, place)
    except (OSError, HTTPException) as error:
        raise CheckpointError(
            f'{url} cannot be downloaded ({error}): put it at {place}.'
        ) from None
    except CheckpointError:
        raise CheckpointError(
            f'{url} came torn or holds more than tensors: try again, or put a '
            f'checkpoint that is whole at {place}.'
        ) from None
