"""A checkpoint that says when somebody runs the code in it."""

import os
import pickle
from pathlib import Path

import torch


class Trap:
    """Unpickled in full, it creates a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.marker),)


def write_trap(path: Path, marker: Path) -> str:
    """A checkpoint with code in it."""
    torch.save(dict(state_dict={}, meta=dict(iter=1), code=Trap(marker)), path)
    return str(path)


def write_raw_trap(path: Path, marker: Path) -> str:
    """The same, as Python itself writes it."""
    path.write_bytes(pickle.dumps(dict(state_dict={}, code=Trap(marker))))
    return str(path)
