"""Links `configs/`, `tools/` and the model index into the package, where mim and
`mmpatchconvnet::` look for them; a wheel gets the files behind the links. Everything
else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
MIM = ROOT / 'mmpatchconvnet' / '.mim'

shutil.rmtree(MIM, ignore_errors=True)
MIM.mkdir()
for name in ('configs', 'tools', 'model-index.yml'):
    (MIM / name).symlink_to(Path('..', '..', name))

setup(include_package_data=True)
