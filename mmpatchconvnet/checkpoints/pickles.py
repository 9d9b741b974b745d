"""Pickles, such as an `ann_file='x.pkl'` of a config, are read as data only.

Importing this changes how `mmengine.load` reads them; writing stays as it is.
"""

import codecs
import io
import pickle
import re
from collections import OrderedDict
from typing import IO, Any

import numpy as np
import torch
from mmengine.fileio.handlers import PickleHandler

from mmpatchconvnet.checkpoints.reading import ALLOWED, VALUES


def load_storage(content: bytes) -> Any:
    """The memory of a pickled tensor, which torch itself unpickles in full."""
    return torch.load(io.BytesIO(content), weights_only=True)


# By module and name, as in a pickle; protocol 2, mmengine's, uses Python 2's names.
NAMES = {(one.__module__, one.__qualname__): one for one in ALLOWED}
NAMES |= {
    (module, kind.__name__): kind
    for module in ('builtins', '__builtin__')
    for kind in (set, bytearray, complex, *VALUES)
    if kind.__module__ == 'builtins'
}
NAMES['__builtin__', 'xrange'] = range
NAMES |= {  # protocol 5 of numpy 1 and 2
    (f'numpy.{core}.numeric', '_frombuffer'): np.empty(1).__reduce_ex__(5)[0]
    for core in ('core', '_core')
}
NAMES |= {
    ('_codecs', 'encode'): codecs.encode,  # of bytes, in protocol 2
    ('collections', 'OrderedDict'): OrderedDict,
    ('torch._utils', '_rebuild_tensor_v2'): torch._utils._rebuild_tensor_v2,
    ('torch.storage', '_load_from_bytes'): load_storage,
}


class DataUnpickler(pickle.Unpickler):
    """Reads plain values, NumPy arrays, tensors and what mmengine logs."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in NAMES:
            raise pickle.UnpicklingError(f'GLOBAL {module}.{name} is refused')
        return NAMES[module, name]


def load_pickle(handler: PickleHandler, file: IO[bytes], **options: Any) -> Any:
    """What `pickle.load` returns, read as data only.

    Raises:
        ValueError: It is truncated, or holds more than data, which is then named and
            not run.
    """
    try:
        return DataUnpickler(file, **options).load()
    except pickle.UnpicklingError as error:
        found = re.search(r'GLOBAL (\S+)', str(error))
        fault = (
            f'holds {found[1]}, which could run code'
            if found
            else 'cannot be read as data'
        )
        raise ValueError(
            f'the pickle {fault}: give a file of plain values, NumPy arrays and '
            'tensors, or a JSON file.'
        ) from error


PickleHandler.load_from_fileobj = load_pickle
