"""The registries of this package, children of mmengine's registries.

mmengine imports this module when a config of any host has `type='mmpatchconvnet.X'`,
and the `locations` on the first lookup.
"""

from mmengine.registry import FUNCTIONS as MMENGINE_FUNCTIONS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import MODEL_WRAPPERS as MMENGINE_MODEL_WRAPPERS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import (
    OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
)
from mmengine.registry import STRATEGIES as MMENGINE_STRATEGIES
from mmengine.registry import Registry

MODELS = Registry(
    'model',
    parent=MMENGINE_MODELS,
    scope='mmpatchconvnet',
    locations=['mmpatchconvnet.models', 'mmpatchconvnet.attention.registration'],
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
        'mmpatchconvnet.engine.hooks.checkpoint',
        'mmpatchconvnet.engine.hooks.schedule',
        'mmpatchconvnet.engine.hooks.seeds',
        'mmpatchconvnet.engine.hooks.visualization',
        'mmpatchconvnet.engine.hooks.progress_bar',
    ],
)
MODEL_WRAPPERS = Registry(
    'model wrapper',
    parent=MMENGINE_MODEL_WRAPPERS,
    scope='mmpatchconvnet',
    locations=['mmpatchconvnet.engine.distributed'],
)
STRATEGIES = Registry(
    'strategy',
    parent=MMENGINE_STRATEGIES,
    scope='mmpatchconvnet',
    locations=['mmpatchconvnet.engine.sharding'],
)
FUNCTIONS = Registry(
    'function',
    parent=MMENGINE_FUNCTIONS,
    scope='mmpatchconvnet',
    locations=['mmpatchconvnet.engine.sharding'],
)
