"""Reading files without running the code that a pickle may hold."""

import codecs
import datetime
import os
import pathlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim import OneCycleParamScheduler
from torch import serialization

from mmpatchconvnet.checkpoints.conversion import CheckpointError


class DamagedError(CheckpointError):
    """A file that is not what was once saved: cut off, or with other bytes."""


def load_file(
    path: str | Path, map_location: str | torch.device | Callable | None = 'cpu'
) -> Any:
    """Read a file that holds tensors, plain values and what mmengine logs.

    Plain values are those of Python and NumPy, paths, dates and times.

    Args:
        path: A file of `torch.save`, or a `.safetensors` file.
        map_location: Where the tensors go, as in `torch.load`.

    Raises:
        DamagedError: It is truncated, or its bytes do not have their checksum.
        CheckpointError: There is no such file, or it holds more than data, which is
            then named and not run.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(f'{path} is not a file: give a checkpoint.')
    if not os.access(path, os.R_OK):
        raise CheckpointError(f'{path} may not be read: set its permissions.')
    try:
        if path.suffix == '.safetensors':
            return load_safetensors(path, map_location)
        check_checksums(path)
        with allowed_globals(), warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'Detected pickle protocol')
            return torch.load(path, map_location=map_location, weights_only=True)
    except (CheckpointError, MemoryError, torch.cuda.OutOfMemoryError):
        raise
    except Exception as error:  # truncated files can raise anything
        raise unreadable(path, error) from error


def load_safetensors(path: Path, map_location: Any) -> dict[str, torch.Tensor]:
    """The tensors of a file of the package safetensors.

    Raises:
        CheckpointError: The package is not installed.
    """
    try:
        from safetensors.torch import load_file as read
    except ImportError:
        raise CheckpointError(
            f'{path} needs the package safetensors: install it with pip install '
            'safetensors.'
        ) from None
    device = map_location if isinstance(map_location, (str, torch.device)) else 'cpu'
    return read(path, device=str(device))


def check_checksums(path: Path) -> None:
    """Raise unless the records of a file have the checksums that were saved with them.

    torch writes them and does not compare them. Records without one, and files of the
    format before torch 1.6, are not checked.

    Raises:
        DamagedError: A record has another checksum.
    """
    record = 'list of records'
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as records:
            for info in records.infolist():
                record = f'record {info.filename}'
                if info.CRC:  # 0 after torch.serialization.set_crc32_options(False)
                    with records.open(info) as content:
                        while content.read(1 << 20):
                            pass
    except Exception as error:  # changed bytes can raise anything
        raise DamagedError(
            f'{path} is damaged, as the bytes of its {record} have changed since it '
            f'was saved: give another copy or {earlier_checkpoint(path)}.'
        ) from error


def earlier_checkpoint(path: Path) -> str:
    """What to take instead of a damaged file: the one of its run saved before it."""

    def series(name: str) -> str:
        return re.sub(r'\d+', '', name)

    age = path.stat().st_mtime_ns
    others = [
        (other.stat().st_mtime_ns, other.name)
        for other in path.parent.iterdir()
        if series(other.name) == series(path.name) and other.stat().st_mtime_ns < age
    ]
    return 'an earlier checkpoint' + (f', such as {max(others)[1]}' if others else '')


def unreadable(path: str | Path, error: Exception) -> CheckpointError:
    """What to tell the user when a checkpoint could not be read as data."""
    name = forbidden_global(path, error)
    if name:
        return CheckpointError(
            f'{path} holds {name}, which could run code: give a checkpoint of tensors '
            'and plain values, such as a saved state_dict.'
        )
    reason = re.split(r'\.\s|\n', f'{type(error).__name__}: {error}'.strip(': '))[0]
    if zipfile.is_zipfile(path):  # its checksums are right
        return CheckpointError(
            f'{path} is whole, but cannot be read as data ({reason}): save it again as '
            'a state_dict with the default pickle_protocol.'
        )
    return DamagedError(
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
    """Let `torch.load(..., weights_only=True)` read what is `ALLOWED`, here only."""
    present = serialization.get_safe_globals()
    added = [one for one in ALLOWED if one not in present]
    serialization.add_safe_globals(added)
    try:
        yield
    finally:  # torch 2.4 has neither a context of them nor a way to remove one
        kept = [one for one in serialization.get_safe_globals() if one not in added]
        serialization.clear_safe_globals()
        serialization.add_safe_globals(kept)


def method_of(owner: Any, name: str) -> Callable:
    """A method that mmengine's pickles name by `getattr`.

    It is a public one of `HistoryBuffer`, or a curve of `OneCycleLR`.
    """
    if owner is HistoryBuffer and not name.startswith('_'):
        return vars(HistoryBuffer)[name]
    if owner is ONE_CYCLE and name in ('_annealing_cos', '_annealing_linear'):
        return getattr(OneCycleParamScheduler, name)
    raise pickle.UnpicklingError(f'GLOBAL builtins.getattr of {name} is refused')


def not_made(*arguments: Any) -> None:
    """Takes the place of a class of which no object is made."""
    raise pickle.UnpicklingError(f'GLOBAL {ONE_CYCLE.__qualname__} is refused')


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


ONE_CYCLE = under_name(
    not_made, OneCycleParamScheduler.__module__, OneCycleParamScheduler.__qualname__
)
# Classes that only hold values. None is written in Python: a pickle could change it.
VALUES: list[Any] = [
    *(bytes, frozenset, range, slice),
    *(str, int, float, bool),  # as values, e.g. a dtype
    *(datetime.date, datetime.time, datetime.datetime),
    *(datetime.timedelta, datetime.timezone, Decimal),
]
# A path of another system cannot be made here, but one that is only a name can.
PATHS: dict[str, type] = {
    'PurePosixPath': pathlib.PurePosixPath,
    'PureWindowsPath': pathlib.PureWindowsPath,
    'PosixPath': pathlib.PurePosixPath if os.name == 'nt' else pathlib.PosixPath,
    'WindowsPath': pathlib.WindowsPath if os.name == 'nt' else pathlib.PureWindowsPath,
}
# What NumPy's arrays and scalars, also in a pickled HistoryBuffer, consist of. The
# functions that make them have moved from numpy.core to numpy._core in numpy 2.
NUMPY_MAKERS: list[Any] = [x.__reduce__()[0] for x in (np.empty(0), np.float64())]
PLAIN_DTYPES = np.typecodes['AllInteger'] + np.typecodes['AllFloat'] + '?SUmM'
ALLOWED: list[Any] = [
    *VALUES,
    *(
        under_name(kind, module, name)
        for name, kind in PATHS.items()
        for module in ('pathlib', 'pathlib._local')  # the latter in Python 3.13
    ),
    HistoryBuffer,
    ONE_CYCLE,
    under_name(method_of, 'builtins', 'getattr'),
    codecs.encode,  # how a pickle writes bytes; torch allows it itself from 2.5 on
    np.ndarray,
    under_name(plain_dtype, 'numpy', 'dtype'),
    *{type(np.dtype(code)) for code in PLAIN_DTYPES},
    *{np.dtype(code).type for code in PLAIN_DTYPES},
    *(
        under_name(function, f'numpy.{core}.multiarray', function.__name__)
        for function in NUMPY_MAKERS
        for core in ('core', '_core')
    ),
]
