"""Check what is installed, and name the command that installs what is missing."""

import importlib
import importlib.util
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import NamedTuple

from mmpatchconvnet.compat.finder import ops_are_compiled
from mmpatchconvnet.compat.hosts import (
    HOSTS,
    NEEDED,
    describe_version,
    distribution_of,
)
from mmpatchconvnet.compat.processor import VARIABLE, cpu_capability, product_library
from mmpatchconvnet.version import __version__


class Finding(NamedTuple):
    """One line of the report; `remedy` is a command, or empty if nothing is wrong."""

    name: str
    state: str
    remedy: str = ''


def examine() -> Iterator[Finding]:
    """Yield all findings one by one, as some take a second."""
    yield Finding('mmpatchconvnet', __version__)
    yield Finding('Python', f'{platform.python_version()} on {platform.system()}')
    # Two families share the import names; a missing package must be of the same one.
    original = distribution_of('mmengine') == 'mmengine'
    for module, packages in NEEDED.items():
        yield check_import(module, packages[original])
    yield check_cv2()
    yield check_setuptools()
    if importlib.util.find_spec('mmcv'):
        yield check_ops()
    if importlib.util.find_spec('torch'):
        yield check_device()
        yield check_cpu_products()
    present = [host for host in HOSTS if importlib.util.find_spec(host)]
    if not present:
        all_hosts = ' '.join(packages[original] for packages in HOSTS.values())
        yield Finding('hosts', 'none is installed', f'pip install {all_hosts}')
    for host, packages in HOSTS.items():
        if host not in present:
            yield Finding(host, f'not installed (pip install {packages[original]})')
            continue
        yield check_import(host, packages[original])
        yield check_configs(host, packages[original])


def check_import(module: str, package: str) -> Finding:
    """Import a module, and report its version and distribution."""
    if importlib.util.find_spec(module) is None:
        return Finding(module, 'missing', f'pip install {package}')

    def describe() -> str:
        importlib.import_module(module)
        return describe_version(module)

    return attempt(module, describe, f'pip install --force-reinstall {package}')


def attempt(name: str, action: Callable[[], str], remedy: str) -> Finding:
    """Report what the action returns, or its error with the remedy."""
    try:
        return Finding(name, action())
    except Exception as error:
        return Finding(name, f'broken: {error}'.splitlines()[0], remedy)


def check_cv2() -> Finding:
    return attempt(
        'OpenCV',
        lambda: importlib.import_module('cv2').__version__,
        'pip uninstall -y opencv-python && '
        'pip install --force-reinstall --no-deps opencv-python-headless',
    )


def check_setuptools() -> Finding:
    if importlib.util.find_spec('pkg_resources') is None:
        return Finding(
            'setuptools', 'has no pkg_resources', "pip install 'setuptools<82'"
        )
    return Finding('setuptools', version('setuptools'))


def check_ops() -> Finding:
    def describe() -> str:
        if ops_are_compiled():
            importlib.import_module('mmcv._ext')
            return 'compiled'
        importlib.import_module('torchvision')
        return 'run by torchvision and torch (docs/ops.md lists them)'

    return attempt('mmcv ops', describe, 'pip install torch torchvision --upgrade')


def check_device() -> Finding:
    def describe() -> str:
        import torch

        if torch.cuda.is_available():
            names = [
                torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())
            ]
            return ', '.join(names)
        return f'CPU, {torch.get_num_threads()} threads (torch sees no GPU)'

    return attempt('device', describe, 'pip install torch --upgrade')


def check_cpu_products() -> Finding:
    def describe() -> str:
        return f'{product_library()} with {cpu_capability()} ({VARIABLE} sets it)'

    return attempt('CPU products', describe, f'unset {VARIABLE}')


def check_configs(host: str, package: str) -> Finding:
    def find() -> str:
        from mmengine.config import Config

        runtime = 'default_runtime.py'
        path, _ = Config._get_cfg_path(f'{host}::_base_/{runtime}', '')
        return f'found in {path.removesuffix(f"/_base_/{runtime}")}'

    return attempt(
        f'{host}:: configs',
        find,
        f'pip install --force-reinstall --no-deps {package}',
    )
