"""Provide `mmcv._ext`, mmcv's compiled ops, where it is not installed."""

import importlib.util
import logging
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

COMPILED_OPS = 'mmcv._ext'


class OpsFinder(MetaPathFinder, Loader):
    """Loads `ops/` as `mmcv._ext`; Python consults it after every other finder."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """The spec of `mmcv._ext`; None for every other module."""
        if fullname != COMPILED_OPS:
            return None
        return ModuleSpec(fullname, self, origin='mmpatchconvnet.compat.ops')

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module with the ops, and log it once.

        Raises:
            ImportError: torchvision is missing.
        """
        if importlib.util.find_spec('torchvision') is None:
            raise ImportError(
                'mmcv was installed without its compiled ops, and torchvision, which '
                'can run them, is missing: pip install torchvision'
            )
        from mmengine.logging import print_log

        from mmpatchconvnet.compat import op_calls, ops

        op_calls.check_built_models()
        for name in ('__getattr__', *ops.__all__):
            setattr(module, name, getattr(ops, name))
        print_log(
            'mmcv has no compiled ops: mmpatchconvnet runs them through torchvision '
            'and torch, and refuses to build a model that calls one it does not have.',
            logger='current',
            level=logging.INFO,
        )


def add_finder() -> None:
    """Add one `OpsFinder` after all other finders."""
    if not any(isinstance(finder, OpsFinder) for finder in sys.meta_path):
        sys.meta_path.append(OpsFinder())


def ops_are_compiled() -> bool:
    """Whether mmcv is installed with its compiled ops."""
    spec = importlib.util.find_spec(COMPILED_OPS)
    return spec is not None and not isinstance(spec.loader, OpsFinder)
