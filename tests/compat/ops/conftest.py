"""Ops are tested as mmcv calls them, with figures of the compiled ops."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mmpatchconvnet.compat import ops_are_compiled


@pytest.fixture(autouse=True, scope='session')
def no_compiled_ops() -> None:
    if ops_are_compiled():
        pytest.skip('this mmcv has compiled ops')


def read_figures(name: str) -> dict[str, Tensor]:
    with np.load(Path(__file__).parents[2] / 'data' / name) as file:
        return {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}


@pytest.fixture(scope='session')
def goldens() -> dict[str, Tensor]:
    """See `mmpatchconvnet/compat/ops/__init__.py`."""
    return read_figures('mmcv_ops.npz')


@pytest.fixture(scope='session')
def stored_values() -> dict[str, Tensor]:
    """Inputs and results that mmcv's own tests compare its ops with."""
    return read_figures('mmcv_stored_values.npz')
