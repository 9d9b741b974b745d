"""Bind mmcv's ops in modules that were imported before the ops could be.

mmdet, mmseg and mmcv import an op inside `try`, and bind None or a stub that raises
where that fails. `import mmpatchconvnet` after them repeats these imports.
"""

import ast
import sys
from collections.abc import Iterator, Sequence
from types import CodeType, ModuleType
from typing import Any

from mmpatchconvnet.compat.finder import ops_are_compiled


def bind_late_ops() -> None:
    """Repeat the failed imports of mmcv's ops in all loaded modules."""
    if sys.modules.get('mmcv') is None:  # not imported, or it must not be
        return
    if 'mmcv.ops' in sys.modules or ops_are_compiled():
        return
    # Anything can be in there, objects without names too.
    repeat_imports([m for m in sys.modules.values() if isinstance(m, ModuleType)])


def repeat_imports(modules: Sequence[ModuleType]) -> None:
    """Repeat what modules import of mmcv inside `try`.

    A stub that a module defines, and other modules import from it, is replaced there
    too; a value that means something elsewhere, like False or `nn.Module`, is not.
    """
    stubs: dict[int, tuple[Any, Any]] = {}  # with the stubs, as their ids must last
    # The others import one of the ops from a module of mmcv that imports it.
    for module in sorted(modules, key=lambda module: not is_of_mmcv(module.__name__)):
        for statement in tried_imports(module):
            before = dict(vars(module))
            try:
                exec(statement, vars(module))
            except Exception:  # of any kind: the module did without these imports
                continue
            for name, op in vars(module).items():
                stub = before.get(name)
                is_own = getattr(stub, '__module__', None) == module.__name__
                if stub is not op and is_own:
                    stubs[id(stub)] = stub, op
    for module in modules:
        for name, value in list(vars(module).items()):
            if id(value) in stubs:
                setattr(module, name, stubs[id(value)][1])


def tried_imports(module: ModuleType) -> Iterator[CodeType]:
    """The imports inside each `try` of a module, if one of them is from mmcv."""
    for statement in ast.parse(source_of(module)).body:
        if not isinstance(statement, ast.Try):
            continue
        imports = [
            s for s in statement.body if isinstance(s, ast.Import | ast.ImportFrom)
        ]
        if any(is_of_mmcv(getattr(s, 'module', None) or '') for s in imports):
            body = ast.Module(body=list(imports), type_ignores=[])
            yield compile(body, str(module.__file__), 'exec')


def is_of_mmcv(name: str) -> bool:
    return name.partition('.')[0] == 'mmcv'


def source_of(module: ModuleType) -> str:
    """The source of a module that may import from mmcv inside `try`, or ''."""
    read = getattr(getattr(module, '__loader__', None), 'get_source', None)
    try:
        text = read(module.__name__) if read else None
    except (ImportError, OSError):  # it has moved
        return ''
    return text if text and 'try:' in text and 'from mmcv' in text else ''
