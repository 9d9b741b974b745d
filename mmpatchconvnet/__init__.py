"""PatchConvNet for mmpretrain, mmdet and mmsegmentation.

Importing this is cheap: it adds what the installed OpenMMLab lacks (see `compat`) and
loads the models on first use. Nothing heavy is imported here, because mmengine would
report an ImportError as "not in the registry".
"""

from importlib import import_module
from typing import Any

from mmpatchconvnet import compat
from mmpatchconvnet.version import __version__

_MODULE_OF = {
    'AttentionMap': 'mmpatchconvnet.attention.map',
    'AttentionMixClassifier': 'mmpatchconvnet.attention.mix_classifier',
    'AttentionPooling': 'mmpatchconvnet.models',
    'DeconvPyramid': 'mmpatchconvnet.models',
    'FastUPerHead': 'mmpatchconvnet.models.uper_head',
    'HMHSA': 'mmpatchconvnet.models',
    'LayerDecayOptimWrapperConstructor': 'mmpatchconvnet.engine.layer_decay',
    'MixPro': 'mmpatchconvnet.attention.mixpro',
    'PatchConvNet': 'mmpatchconvnet.models',
    'PerTokenLinearHead': 'mmpatchconvnet.models.per_token_head',
    'PerTokenMultiLabelHead': 'mmpatchconvnet.models.per_token_head',
    'Predictor': 'mmpatchconvnet.inference.predictor',
    'ResizePyramid': 'mmpatchconvnet.models',
    'SimplePyramid': 'mmpatchconvnet.models',
    'TransCNN': 'mmpatchconvnet.models',
    'TransMix': 'mmpatchconvnet.attention.transmix',
    'with_plugins': 'mmpatchconvnet.models',
}
# They extend classes of these hosts.
_HOST_OF = {
    'AttentionMixClassifier': 'mmpretrain',
    'FastUPerHead': 'mmseg',
    'PerTokenLinearHead': 'mmpretrain',
    'PerTokenMultiLabelHead': 'mmpretrain',
    'TransMix': 'mmpretrain',
}
_SUBMODULES = (
    'attention',
    'checkpoints',
    'datasets',
    'engine',
    'inference',
    'models',
    'visualization',
)

# A star import works with any host.
__all__ = ['__version__', *sorted({*_MODULE_OF} - {*_HOST_OF}), *_SUBMODULES]

compat.install()
# From here on, mmengine and its hosts read checkpoints as data only.
compat.import_after('mmengine.runner', 'mmpatchconvnet.checkpoints')
compat.import_after('mmpretrain', 'mmpatchconvnet.compat.mmpretrain_alone')
compat.import_after(
    'mmpretrain.datasets.custom', 'mmpatchconvnet.compat.mmpretrain_folders'
)
compat.import_after(
    'mmpretrain.models.classifiers.base', 'mmpatchconvnet.compat.mmpretrain_mixing'
)
compat.import_after(
    'mmpretrain.models.classifiers.image', 'mmpatchconvnet.compat.mmpretrain_inference'
)


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(_MODULE_OF[name]), name)
    if name in _SUBMODULES:
        return import_module(f'{__name__}.{name}')
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
