"""Reading files without running the code that a pickle may hold."""

import pickle
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from mmpatchconvnet.checkpoints.conversion import CheckpointError


def load_file(
    path: str | Path, map_location: str | torch.device | Callable | None = 'cpu'
) -> Any:
    """Read a file that holds tensors, plain values and what mmengine logs.

    Args:
        path: A file of `torch.save`.
        map_location: Where the tensors go, as in `torch.load`.

    Raises:
        CheckpointError: There is no such file, it is truncated, or it holds more than
            data, which is then named and not run.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(f'{path} is not a file: give a checkpoint.')
    try:
        with allowed_globals(), warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'Detected pickle protocol')
            return torch.load(path, map_location=map_location, weights_only=True)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # truncated files can raise anything
        raise unreadable(path, error) from error


def unreadable(path: str | Path, error: Exception) -> CheckpointError:
    """What to tell the user when a checkpoint could not be read as data."""
    name = forbidden_global(path, error)
    if name:
        return CheckpointError(
            f'{path} holds {name}, which could run code: give a checkpoint of tensors '
            'and plain values, such as a saved state_dict.'
        )
    reason = re.split(r'\.\s|\n', f'{type(error).__name__}: {error}'.strip(': '))[0]
    return CheckpointError(
        f'{path} cannot be read as a checkpoint ({reason}): give a file that is whole '
        'and was saved as a state_dict.'
    )


def forbidden_global(path: str | Path, error: Exception) -> str | None:
    """The class or function for which a file was refused, if it was for one."""
    if found := re.search(r'GLOBAL (\S+)', str(error)):
        return found[1]
    # torch reads protocol 2 only; of a newer pickle it does not say what is in it.
    try:
        with Path(path).open('rb') as file:
            GlobalFinder(file).load()
    except GlobalFound as found:
        return str(found)
    except Exception:  # no pickle
        pass
    return None


class GlobalFound(Exception):
    """The first global in a pickle."""


class GlobalFinder(pickle.Unpickler):
    """Stops at the first global of a pickle, before anything is called."""

    def find_class(self, module: str, name: str) -> Any:
        raise GlobalFound(f'{module}.{name}')


@contextmanager
def allowed_globals() -> Iterator[None]:
    """Let `torch.load(..., weights_only=True)` read `HistoryBuffer`s, here only."""
    present = torch.serialization.get_safe_globals()
    added = [one for one in ALLOWED if one not in present]
    with torch.serialization.safe_globals(added):
        yield


def log_statistic(owner: type, name: str) -> Callable:
    """A public method of `HistoryBuffer`: its pickles name some by `getattr`."""
    if owner is not HistoryBuffer or name.startswith('_'):
        raise pickle.UnpicklingError(f'GLOBAL builtins.getattr of {name} is refused')
    return vars(HistoryBuffer)[name]


def plain_dtype(name: str, *arguments: Any) -> np.dtype:
    """What `np.dtype` makes of the name of a number or of a string of fixed length.

    In an array of objects, also as a field, the bytes of a file would be pointers.
    """
    dtype = np.dtype(name, *arguments)
    if dtype.char not in PLAIN_DTYPES:
        raise pickle.UnpicklingError(f'GLOBAL numpy.dtype of {name} is refused')
    return dtype


def under_name(function: Callable, module: str, name: str) -> Callable:
    """A function that torch's list of allowed globals knows by another name."""

    def renamed(*args: Any) -> Any:
        return function(*args)

    renamed.__module__, renamed.__name__, renamed.__qualname__ = module, name, name
    return renamed


# What a pickled HistoryBuffer consists of. The functions that make arrays and scalars
# have moved from numpy.core to numpy._core in numpy 2.
NUMPY_MAKERS: list[Any] = [x.__reduce__()[0] for x in (np.empty(0), np.float64())]
PLAIN_DTYPES = np.typecodes['AllInteger'] + np.typecodes['AllFloat'] + '?SU'
ALLOWED: list[Any] = [
    HistoryBuffer,
    under_name(log_statistic, 'builtins', 'getattr'),
    np.ndarray,
    under_name(plain_dtype, 'numpy', 'dtype'),
    *{type(np.dtype(code)) for code in PLAIN_DTYPES},
    *(
        under_name(function, f'numpy.{core}.multiarray', function.__name__)
        for function in NUMPY_MAKERS
        for core in ('core', '_core')
    ),
]
