"""Checkpoints: official ones and ours, read safely, renamed and loaded strictly.

Importing this makes mmengine and its hosts read theirs as data only, see `data_only`,
and pickles too, see `pickles`.
"""

from mmpatchconvnet.checkpoints import pickles  # noqa: F401  changes mmengine
from mmpatchconvnet.checkpoints.conversion import (
    CheckpointError,
    convert_deit_checkpoint,
    convert_to_deit,
)
from mmpatchconvnet.checkpoints.convert_file import (
    MODES,
    KeyGroup,
    backbone_weights,
    convert_file,
)
from mmpatchconvnet.checkpoints.files import local_file
from mmpatchconvnet.checkpoints.loading import (
    check_start,
    load_weights,
    read_weights,
)
from mmpatchconvnet.checkpoints.official import (
    OFFICIAL_FILES,
    load_deit_checkpoint,
    load_transcnn_checkpoint,
)
from mmpatchconvnet.checkpoints.reading import DamagedError, load_file
from mmpatchconvnet.checkpoints.transcnn import (
    convert_to_transcnn,
    convert_transcnn_checkpoint,
)

__all__ = [
    'MODES',
    'OFFICIAL_FILES',
    'CheckpointError',
    'DamagedError',
    'KeyGroup',
    'backbone_weights',
    'check_start',
    'convert_deit_checkpoint',
    'convert_file',
    'convert_to_deit',
    'convert_to_transcnn',
    'convert_transcnn_checkpoint',
    'load_deit_checkpoint',
    'load_file',
    'load_transcnn_checkpoint',
    'load_weights',
    'local_file',
    'read_weights',
]
