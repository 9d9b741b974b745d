"""Data, never code: what mmengine and its hosts read is read as data.

mmengine, mmpretrain, mmdet and mmseg read every checkpoint, that of an `init_cfg`, of
`load_from`, `resume`, a teacher or an inference helper, through one method,
`CheckpointLoader.load_checkpoint`. Files from the web, and those that torch refuses to
read with `weights_only=True`, it unpickles in full, and so runs the code in them.

Importing this replaces that one method. `import mmpatchconvnet` sees to it as soon as
`mmengine.runner` is imported, by whomever: an inferencer of a host reads its weights
before it builds the model, so our scripts or models would import this too late.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader

from mmpatchconvnet.checkpoints.conversion import CheckpointError
from mmpatchconvnet.checkpoints.embedded_configs import keep_settings
from mmpatchconvnet.checkpoints.files import local_file
from mmpatchconvnet.checkpoints.reading import (
    allowed_globals,
    load_file,
    unreadable,
)

# torch's own switches, which overrule the `weights_only` of a caller.
SWITCHES = {
    'TORCH_FORCE_WEIGHTS_ONLY_LOAD': '1',
    'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD': '0',
}
load_by_scheme = CheckpointLoader.load_checkpoint  # mmengine's, replaced below


def load_checkpoint(
    filename: str,
    map_location: str | torch.device | Callable | None = None,
    logger: Any = 'current',
) -> Any:
    """What `CheckpointLoader.load_checkpoint` returns, read as data only.

    Args:
        filename: A file, a URL, or one of mmengine's schemes, such as `deit://NAME`,
            `torchvision://resnet50` or `s3://BUCKET/FILE`.
        map_location: Where the tensors go, as in `torch.load`.
        logger: Logger of what is read, or its name.

    Raises:
        CheckpointError: There is no such file, or it cannot be read as data.
    """
    path = local_file(filename)
    if '://' in path:
        try:
            with data_only():
                checkpoint = load_by_scheme(path, map_location, logger)
        except (CheckpointError, MemoryError, torch.cuda.OutOfMemoryError):
            raise
        except Exception as error:  # of any store or network
            raise unreadable(filename, error) from error
    else:
        print_log(f'Loads checkpoint, as data only, from: {filename}', logger)
        checkpoint = load_file(path, map_location)
    keep_settings(checkpoint, filename)
    return checkpoint


@contextmanager
def data_only() -> Iterator[None]:
    """Every `torch.load` within reads data only, whatever its caller says."""
    before = {name: os.environ.get(name) for name in SWITCHES}
    os.environ.update(SWITCHES)
    try:
        with allowed_globals():
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


CheckpointLoader.load_checkpoint = staticmethod(load_checkpoint)
