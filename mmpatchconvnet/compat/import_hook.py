"""Import a module of ours right after a host's module, whatever code imports it."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


class FollowUp(MetaPathFinder):
    """Finds one module as Python does, and imports another module after it.

    Args:
        first: Dotted name of the module to wait for.
        then: Dotted name of the module to import after it.
    """

    def __init__(self, first: str, then: str) -> None:
        self.first, self.then = first, then

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != self.first:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_both(module: ModuleType) -> None:
                execute(module)
                import_module(self.then)

            spec.loader.exec_module = execute_both  # type: ignore[method-assign]
        return spec


def import_after(first: str, then: str) -> None:
    """Import `then` now if `first` has been imported, or else right after it."""
    if first in sys.modules:
        import_module(then)
        return
    pairs = [(f.first, f.then) for f in sys.meta_path if isinstance(f, FollowUp)]
    if (first, then) not in pairs:
        sys.meta_path.insert(0, FollowUp(first, then))
