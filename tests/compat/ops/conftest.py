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


@pytest.fixture(scope='session')
def goldens() -> dict[str, Tensor]:
    """See `mmpatchconvnet/compat/ops/__init__.py`."""
    with np.load(Path(__file__).parents[2] / 'data' / 'mmcv_ops.npz') as file:
        return {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}
