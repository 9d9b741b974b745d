"""`tools/test_matrix.py`: the rows of environments, and the table in the docs."""

import importlib.util
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / 'tools/test_matrix.py'


@pytest.fixture
def matrix(monkeypatch, tmp_path):
    """The script, with files and environments of its own."""
    spec = importlib.util.spec_from_file_location('matrix', TOOL)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = tmp_path / 'page.md'
    page.write_text('before\n<!-- versions: all -->\n<!-- end -->\nafter\n')
    for name, value in dict(
        ROWS=tmp_path / 'rows.csv',
        PAGE=page,
        LOGS=tmp_path / 'logs',
        ENVIRONMENTS=[script.Environment(name, '0.0') for name in ('a', 'b')],
    ).items():
        monkeypatch.setattr(script, name, value)
    return script


def test_a_run_of_one_environment_keeps_the_other_rows(matrix, monkeypatch):
    for name, passed in (('b', '1'), ('a', '2'), ('b', '3')):
        monkeypatch.setattr(
            matrix,
            'measure',
            lambda one, *_, passed=passed: (
                dict.fromkeys(matrix.COLUMNS, '')
                | dict(environment=one.name, passed=passed)
            ),
        )
        monkeypatch.setattr(sys, 'argv', ['', '--only', name])
        matrix.main()
    rows = [
        (row['environment'], row['passed']) for row in matrix.read_rows(matrix.ROWS)
    ]
    assert rows == [('a', '2'), ('b', '3')]
    page = matrix.PAGE.read_text()
    assert '| a | 2 |\n| b | 3 |\n<!-- end -->\nafter\n' in page


def test_what_stands_against_an_environment_is_its_result(matrix, monkeypatch):
    row = matrix.measure(matrix.ENVIRONMENTS[0], [], None)
    assert row['error'] == 'there is no python0.0 on this machine'

    def call(command, output):
        print('ERROR: a\nERROR: no torch==9', file=output, flush=True)
        return 'install' in command

    monkeypatch.setattr(matrix, 'call', call)
    row = matrix.measure(matrix.ENVIRONMENTS[0], [], None)
    assert row['error'] == 'no torch==9'
    assert row['passed'] == ''
