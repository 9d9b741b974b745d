"""Who the hosts are: import names, distributions, versions, and their config scopes.

OpenMMLab comes in two distributions with the same import names: the maintained onedl
ones and the original ones.
"""

import importlib.util
import platform
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.metadata import packages_distributions, version
from types import ModuleType
from typing import Any

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


CONFIG_UTILS = 'mmengine.config.utils'


def add_config_scopes() -> None:
    """Let configs inherit from `mmseg::` and `mmpatchconvnet::`.

    mmengine knows a closed list of packages, under the names of the original
    distributions: `mmseg::` fails on onedl-mmsegmentation and `mmpatchconvnet::`
    everywhere. Given an import name, it finds the package in any distribution.

    mmengine takes a second to import, and the original one imports torch, so a list
    that is not loaded yet is extended when it is.
    """
    if CONFIG_UTILS in sys.modules:
        extend_packages(sys.modules[CONFIG_UTILS])
    elif ConfigUtilsLoader not in sys.meta_path:
        sys.meta_path.insert(0, ConfigUtilsLoader)


def extend_packages(config_utils: Any) -> None:
    """Add our names to the list in `mmengine.config.utils`."""
    for package in ('mmseg', 'mmpatchconvnet'):
        if importlib.util.find_spec(package):
            config_utils.MODULE2PACKAGE[package] = package


class ConfigUtilsLoader(SourceFileLoader):
    """Finds `mmengine.config.utils` where Python does, and extends it once loaded."""

    @classmethod
    def find_spec(
        cls,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != CONFIG_UTILS:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.origin is not None:
            spec.loader = cls(fullname, spec.origin)
        return spec

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        extend_packages(module)
