"""One training at a time in a work directory.

The operating system holds the lock for a process and drops it when that ends, however
it ends, so that no lock is left behind. The file stays: it says who has the lock.
"""

import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmpatchconvnet.config_files import ConfigError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = '.lock'
held: dict[Path, IO[str]] = {}  # by this process


def lock_work_dir(work_dir: str | Path) -> None:
    """Take the lock of a work directory for this process, until `unlock_work_dir`.

    A process may take it again. Where the system has no such locks, nothing is locked.

    Raises:
        ConfigError: Another process has the lock, which is then named.
        OSError: The directory cannot be written.
    """
    place = Path(work_dir).resolve()
    if fcntl is None or place in held:
        return
    place.mkdir(parents=True, exist_ok=True)
    file = Path(place, NAME).open('a+')  # noqa: SIM115
    # A lock of this kind is not inherited by data workers, which may outlive a process
    # that is killed.
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        owner = read_owner(file)
        file.close()
        raise ConfigError(
            f'{work_dir} is in use by another training ({owner}): wait for it to end, '
            'stop it, or give another --work-dir.'
        ) from None
    except OSError:  # a file system without locks
        file.close()
        return
    held[place] = file
    with suppress(OSError):  # a full disk: locked, by an unknown process
        file.truncate(0)
        json.dump(dict(host=socket.gethostname(), pid=os.getpid()), file)
        file.flush()


def unlock_work_dir(work_dir: str | Path) -> None:
    """Let other processes train in a work directory again."""
    file = held.pop(Path(work_dir).resolve(), None)
    if file is not None:
        with suppress(OSError):  # a full disk: closed nevertheless
            file.close()


def read_owner(file: IO[str]) -> str:
    """Who has the lock, in words."""
    file.seek(0)
    try:
        owner: dict[str, Any] = json.load(file)
        return f'process {owner["pid"]} on {owner["host"]}'
    except (ValueError, KeyError, TypeError):  # not written yet
        return 'an unknown process'


class UnlockHook(Hook):
    """Gives the lock of the work directory back when the training ends."""

    priority = 'LOWEST'

    def after_run(self, runner: Runner) -> None:
        unlock_work_dir(runner.work_dir)
