"""What a module falls back to without mmcv's ops is replaced, and nothing else."""

import importlib
import sys
from types import ModuleType

import pytest
from mmcv.ops import RoIAlign
from torch import nn

from mmpatchconvnet.compat import late_ops

TRIED = """
from torch import nn
try:
    from mmcv.ops.{module} import {name}
except ImportError:
    {stub}
"""


@pytest.fixture
def load(monkeypatch, tmp_path):
    """Import a file in which an import of mmcv has failed."""
    monkeypatch.syspath_prepend(tmp_path)

    def load(name: str, text: str) -> ModuleType:
        (tmp_path / f'{name}.py').write_text(text)
        with monkeypatch.context() as failing:
            failing.setitem(sys.modules, 'mmcv.ops.roi_align', None)
            module = importlib.import_module(name)
        monkeypatch.delitem(sys.modules, name)
        return module

    return load


@pytest.mark.parametrize('stub', ['RoIAlign = False', 'RoIAlign = nn.Module'])
def test_a_value_that_others_use_is_replaced_in_one_module(load, stub: str) -> None:
    module = load('tries', TRIED.format(module='roi_align', name='RoIAlign', stub=stub))
    other = ModuleType('other')
    other.flag, other.Base = False, nn.Module
    late_ops.repeat_imports([module, other])
    assert module.RoIAlign is RoIAlign
    assert other.flag is False and other.Base is nn.Module


@pytest.mark.parametrize(
    'stub', ['class RoIAlign: pass', 'def RoIAlign(): raise ImportError']
)
def test_a_stub_is_replaced_in_all_modules(load, stub: str) -> None:
    module = load('tries', TRIED.format(module='roi_align', name='RoIAlign', stub=stub))
    other = ModuleType('other')
    other.Align = module.RoIAlign
    late_ops.repeat_imports([module, other])
    assert module.RoIAlign is other.Align is RoIAlign


def test_any_object_can_be_among_the_modules(monkeypatch) -> None:
    """Some packages put objects without a name or attributes there."""
    monkeypatch.setitem(sys.modules, 'object', object())
    monkeypatch.delitem(sys.modules, 'mmcv.ops')
    given = []
    monkeypatch.setattr(late_ops, 'repeat_imports', given.extend)
    late_ops.bind_late_ops()
    assert sys.modules['mmcv'] in given
