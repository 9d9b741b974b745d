"""Make the installed OpenMMLab usable; `import mmpatchconvnet` calls `install()`.

Two things are missing after a plain `pip install`:

- mmcv's compiled ops: `finder.py` provides `mmcv._ext` where it is not installed, and
  `ops/` implements the ops that detectors need through torchvision.
- Config inheritance across packages: `config_scopes.py` adds the names that mmengine
  lacks.

What works is not replaced: compiled ops are used where they are installed. It does not
matter what was imported before: `late_ops.py` repeats imports of ops that failed, and
`op_calls.py` refuses to build a model with an op that is still missing.
mmengine takes a second to import, so `import_hook.py` changes its modules when they are
imported.
"""

from mmpatchconvnet.compat.finder import OpsFinder, add_finder, ops_are_compiled
from mmpatchconvnet.compat.import_hook import import_after
from mmpatchconvnet.compat.late_ops import bind_late_ops

__all__ = ['OpsFinder', 'import_after', 'install', 'ops_are_compiled']


def install() -> None:
    """Add the finder and the config scopes; a second call changes nothing."""
    add_finder()
    bind_late_ops()
    import_after('mmengine.config.utils', 'mmpatchconvnet.compat.config_scopes')
