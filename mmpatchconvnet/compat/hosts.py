"""Who the hosts are: import names, distributions, versions, and their config scopes.

OpenMMLab comes in two distributions with the same import names: the maintained onedl
ones and the original ones.
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
    'mmcv': ('onedl-mmcv', "'mmcv<2.2'"),
}
HOSTS = {
    'mmpretrain': ('onedl-mmpretrain', 'mmpretrain'),
    'mmdet': ('onedl-mmdetection', 'mmdet'),
    'mmseg': ('onedl-mmsegmentation', 'mmsegmentation'),
}


def package_versions() -> dict[str, str]:
    """Import name -> version and, under another name, the distribution."""
    distributions = packages_distributions()
    versions = {'python': platform.python_version(), 'mmpatchconvnet': __version__}
    for module in (*NEEDED, *HOSTS):
        if importlib.util.find_spec(module) is not None:
            name = distributions.get(module, [module])[0]
            extra = '' if name == module else f' ({name})'
            versions[module] = f'{version(name)}{extra}'
    return versions


def add_config_scopes() -> None:
    """Let configs inherit from `mmseg::` and `mmpatchconvnet::`.

    mmengine knows a closed list of packages, under the names of the original
    distributions: `mmseg::` fails on onedl-mmsegmentation and `mmpatchconvnet::`
    everywhere. Given an import name, it finds the package in any distribution.
    """
    if importlib.util.find_spec('mmengine') is None:
        return  # `mmpatchconvnet doctor` says so
    from mmengine.config.utils import MODULE2PACKAGE

    for package in ('mmseg', 'mmpatchconvnet'):
        if importlib.util.find_spec(package):
            MODULE2PACKAGE[package] = package
