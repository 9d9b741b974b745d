"""The registries this package fills, as children of mmengine's.

mmengine imports this module by itself when a config of any host says
`type='mmpatchconvnet.X'`, and the `locations` on the first look-up.
"""

from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import (
    OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
)
from mmengine.registry import Registry

MODELS = Registry(
    'model',
    parent=MMENGINE_MODELS,
    scope='mmpatchconvnet',
    locations=['mmpatchconvnet.models'],
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope='mmpatchconvnet',
    locations=['mmpatchconvnet.engine.layer_decay'],
)
HOOKS = Registry(
    'hook',
    parent=MMENGINE_HOOKS,
    scope='mmpatchconvnet',
    locations=[
        'mmpatchconvnet.engine.atomic_checkpoint',
        'mmpatchconvnet.engine.picture_hooks',
        'mmpatchconvnet.engine.progress_bar',
    ],
)
