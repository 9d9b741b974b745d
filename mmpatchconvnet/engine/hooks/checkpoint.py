"""A checkpoint hook whose files are complete or absent."""

from pathlib import Path
from typing import Any

from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook

from mmpatchconvnet.atomic_files import atomic_write
from mmpatchconvnet.registry import HOOKS


class AtomicBackend(LocalBackend):
    """mmengine's backend for local files, but written by `atomic_write`."""

    def put(self, obj: bytes | memoryview, filepath: str | Path) -> None:
        atomic_write(filepath, bytes(obj))


register_backend('mmpatchconvnet.atomic', AtomicBackend, force=True)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's hook with the same arguments; no file is ever truncated."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(backend_args=dict(backend='mmpatchconvnet.atomic'), **settings)
