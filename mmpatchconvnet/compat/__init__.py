"""Make the installed OpenMMLab usable; `import mmpatchconvnet` calls `install()`.

Two things are missing after a plain `pip install`:

- mmcv's compiled ops: `finder.py` provides `mmcv._ext` where it is not installed, and
  `ops/` implements the ops that detectors need through torchvision.
- Config inheritance across packages: `config_scopes.py` adds the names that mmengine
  lacks.

What works is not replaced: compiled ops are used where they are installed.
mmengine takes a second to import, so `import_hook.py` changes its modules when they are
imported.
"""

from mmpatchconvnet.compat.finder import OpsFinder, add_finder, ops_are_compiled
from mmpatchconvnet.compat.import_hook import import_after

__all__ = ['OpsFinder', 'import_after', 'install', 'ops_are_compiled']


def install() -> None:
    """Add the finder and the config scopes; a second call changes nothing."""
    add_finder()
    import_after('mmengine.config.utils', 'mmpatchconvnet.compat.config_scopes')
