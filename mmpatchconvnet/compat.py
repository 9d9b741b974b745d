"""Makes the installed OpenMMLab usable; `import mmpatchconvnet` calls `install()`.

Two things are missing after a plain `pip install`:

- mmcv's compiled ops. Where `mmcv._ext` is genuinely absent, `ops_standin.py` answers
  for it through torchvision.
- Config inheritance across packages. mmengine knows a closed list of packages, under
  the names of the original distributions: `mmseg::` fails on onedl-mmsegmentation and
  `mmpatchconvnet::` everywhere.

Nothing is replaced that works: compiled ops, where there are any, are used.
"""

import importlib.util
import logging
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

COMPILED_OPS = 'mmcv._ext'


class OpsFinder(MetaPathFinder, Loader):
    """Answers for `mmcv._ext`, last in line: asked only where no other finder can."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != COMPILED_OPS:
            return None
        return ModuleSpec(fullname, self, origin='mmpatchconvnet.ops_standin')

    def exec_module(self, module: ModuleType) -> None:
        if importlib.util.find_spec('torchvision') is None:
            raise ImportError(
                'mmcv was installed without its compiled ops, and torchvision, which '
                'can answer for them, is missing: pip install torchvision'
            )
        from mmengine.logging import print_log

        from mmpatchconvnet import ops_standin

        own_names = {'__name__', '__spec__', '__loader__', '__package__'}
        for name, value in vars(ops_standin).items():
            if name not in own_names:
                setattr(module, name, value)
        print_log(
            'mmcv has no compiled ops: mmpatchconvnet answers NMS, RoIAlign and the '
            'focal loss through torchvision; other ops raise an error.',
            logger='current',
            level=logging.INFO,
        )


def ops_are_compiled() -> bool:
    """Whether mmcv brings its own compiled ops."""
    spec = importlib.util.find_spec(COMPILED_OPS)
    return spec is not None and not isinstance(spec.loader, OpsFinder)


def install() -> None:
    """Add the finder and the config scopes; a second call changes nothing."""
    if not any(isinstance(finder, OpsFinder) for finder in sys.meta_path):
        sys.meta_path.append(OpsFinder())
    if importlib.util.find_spec('mmengine') is None:
        return  # tools/doctor.py says so
    from mmengine.config.utils import MODULE2PACKAGE

    # Given an import name, mmengine finds the package whatever its distribution.
    for package in ('mmseg', 'mmpatchconvnet'):
        if importlib.util.find_spec(package):
            MODULE2PACKAGE[package] = package
