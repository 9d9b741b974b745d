"""Files that appear whole or not at all: checkpoints, pictures, pages."""

import os
from pathlib import Path


def atomic_write(path: str | Path, content: bytes) -> None:
    """Write beside the target, then rename; killed midway, it leaves the old file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
