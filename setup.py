"""Puts `configs/`, `tools/` and the model index into the package, where mim and
`mmpatchconvnet::` look for them; everything else is in pyproject.toml."""

import shutil
import sys
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
SHIPPED = ('configs', 'tools', 'model-index.yml')


def add_mim_folder(link: bool) -> None:
    """Fill `mmpatchconvnet/.mim`: links for an editable install, copies for a wheel."""
    mim = ROOT / 'mmpatchconvnet' / '.mim'
    shutil.rmtree(mim, ignore_errors=True)
    mim.mkdir()
    for name in SHIPPED:
        source, target = ROOT / name, mim / name
        if link:
            target.symlink_to(Path('..', '..', name))
        elif source.is_dir():
            ignore = shutil.ignore_patterns('__pycache__')
            shutil.copytree(source, target, ignore=ignore)
        else:
            shutil.copyfile(source, target)


if {'develop', 'editable_wheel'} & set(sys.argv):
    add_mim_folder(link=True)
elif {'sdist', 'bdist_wheel'} & set(sys.argv) and (ROOT / 'configs').is_dir():
    add_mim_folder(link=False)

setup(include_package_data=True)
