"""Files that appear whole or not at all, for checkpoints and pictures."""

import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

ATOMIC_BACKEND = 'atomic'


def write_whole(path: str | Path, content: bytes) -> None:
    """Write beside the target, then rename; killed midway, it leaves the old file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


class AtomicBackend(LocalBackend):
    """mmengine's local files, but written by `write_whole`.

    For `CheckpointHook(backend_args=dict(backend='atomic'))`.
    """

    def put(self, obj: bytes | memoryview, filepath: str | Path) -> None:
        write_whole(filepath, bytes(obj))


register_backend(ATOMIC_BACKEND, AtomicBackend, force=True)
