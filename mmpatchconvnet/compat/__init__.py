"""Makes the installed OpenMMLab usable; `import mmpatchconvnet` calls `install()`.

Two things are missing after a plain `pip install`:

- mmcv's compiled ops: `finder.py` finds `mmcv._ext` where nothing else does, and
  `ops.py` implements the ops that detectors need through torchvision.
- Config inheritance across packages: `hosts.py` adds the names that mmengine lacks.

Nothing is replaced that works: compiled ops, where there are any, are used.
`follow_up.py` lets other rooms change a host's module without importing it early.
"""

from mmpatchconvnet.compat.finder import OpsFinder, add_finder, ops_are_compiled
from mmpatchconvnet.compat.follow_up import import_after
from mmpatchconvnet.compat.hosts import add_config_scopes

__all__ = ['OpsFinder', 'import_after', 'install', 'ops_are_compiled']


def install() -> None:
    """Add the finder and the config scopes; a second call changes nothing."""
    add_finder()
    add_config_scopes()
