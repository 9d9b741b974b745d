"""`tools/host_tests.py`: what passed, failed and why."""

import importlib.util
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / 'tools/host_tests.py'
SUITE = """
import pytest

def test_passes(): pass

def test_fails(): assert 1 == 2

def test_needs_an_op():
    raise NotImplementedError("mmcv op 'knn_forward' is not available")

@pytest.mark.skip(reason='requires CUDA')
def test_is_skipped(): pass
"""


@pytest.fixture
def tool(monkeypatch, tmp_path):
    """The script, with files of its own."""
    spec = importlib.util.spec_from_file_location('host_tests', TOOL)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = tmp_path / 'page.md'
    page.write_text('before\n<!-- host tests: all -->\n<!-- end -->\nafter\n')
    monkeypatch.setattr(script, 'ROWS', tmp_path / 'rows.csv')
    monkeypatch.setattr(script, 'PAGE', page)
    return script


def test_each_outcome_has_a_row(tool, tmp_path):
    tests = tmp_path / 'host' / 'tests'
    tests.mkdir(parents=True)
    (tests / 'test_all.py').write_text(SUITE)
    (tests.parent / 'pytest.py').write_text('raise ImportError("of the checkout")')
    rows = tool.run_suite(tests.parent, ['tests/test_all.py'], without=True)
    assert [(row['outcome'], row['tests'], row['why']) for row in rows] == [
        ('failed', '1', 'assert 1 == 2'),
        ('failed', '1', 'mmcv op knn_forward is missing'),
        ('passed', '1', ''),
        ('skipped', '1', 'requires CUDA'),
    ]
    assert rows[0]['suite'] == 'host tests/test_all.py' and rows[0]['ops'] == 'none'
    tool.save(rows)
    ours = [row | dict(ops='ours') for row in rows]
    tool.save(ours)
    tool.save(ours[:1])
    assert tool.read_rows(tool.ROWS) == [*rows, ours[0]]
    table = tool.PAGE.read_text()
    assert '| none | failed | 2 | assert 1 == 2 (1), mmcv op knn_forward is' in table
    assert '| none | passed | 1 |  |' in table and table.count('| ours |') == 1
    with pytest.raises(ValueError, match='does not exist'):
        tool.run_suite(tests.parent, ['nowhere'], without=True)
