"""Write a file so that it is complete or absent, never truncated."""

import os
from pathlib import Path


def atomic_write(path: str | Path, content: bytes) -> None:
    """Write to a file next to the target, then rename it.

    If the process is killed midway, the old file stays.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
