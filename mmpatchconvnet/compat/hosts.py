"""The hosts: import names, distributions and versions.

OpenMMLab has two families of distributions with the same import names: the maintained
onedl family and the original one.
"""

import importlib.util
import platform
import re
from contextlib import suppress
from importlib.metadata import (
    PackageNotFoundError,
    packages_distributions,
    version,
)

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


def distribution_of(module: str) -> str | None:
    """The distribution that a module was installed from, of either family."""
    named = ' '.join({**NEEDED, **HOSTS}.get(module, ()))
    for name in (*re.findall(r'[\w-]+', named), module):
        if module in name:
            with suppress(PackageNotFoundError):
                version(name)
                return name
    # A fork under another name; this reads all installed files, so it is tried last.
    return next(iter(packages_distributions().get(module, ())), None)


def describe_version(module: str) -> str:
    """Its version, and its distribution if that has another name.

    Raises:
        PackageNotFoundError: It was not installed by pip or the like.
    """
    name = distribution_of(module) or module
    return version(name) if name == module else f'{version(name)} ({name})'


def package_versions() -> dict[str, str]:
    """What `describe_version` says of the hosts and of what they need."""
    versions = {'python': platform.python_version(), 'mmpatchconvnet': __version__}
    for module in (*NEEDED, *HOSTS):
        if importlib.util.find_spec(module) is not None:
            try:
                versions[module] = describe_version(module)
            except PackageNotFoundError:  # a checkout in PYTHONPATH
                versions[module] = 'unknown'
    return versions
