"""The hosts: import names, distributions and versions.

OpenMMLab has two families of distributions with the same import names: the maintained
onedl family and the original one.
"""

import importlib.util
import platform
from importlib.metadata import packages_distributions, version

from mmpatchconvnet.version import __version__

# Import name -> distribution of the maintained family and of the original one.
NEEDED = {
    'torch': ('torch torchvision', 'torch torchvision'),
    'torchvision': ('torchvision', 'torchvision'),
    'mmengine': ('onedl-mmengine', 'mmengine'),
    'mmcv': ('onedl-mmcv', "'mmcv-lite<2.2'"),
}
HOSTS = {
    'mmpretrain': ('onedl-mmpretrain', 'mmpretrain'),
    'mmdet': ('onedl-mmdetection', 'mmdet'),
    'mmseg': ('onedl-mmsegmentation', 'mmsegmentation'),
}


def package_versions() -> dict[str, str]:
    """Import name -> version, and the distribution if its name differs."""
    distributions = packages_distributions()
    versions = {'python': platform.python_version(), 'mmpatchconvnet': __version__}
    for module in (*NEEDED, *HOSTS):
        if importlib.util.find_spec(module) is not None:
            name = distributions.get(module, [module])[0]
            extra = '' if name == module else f' ({name})'
            versions[module] = f'{version(name)}{extra}'
    return versions
