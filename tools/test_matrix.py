"""Install the package in clean environments and run the fast tests in each.

python tools/test_matrix.py [--only NAME ...] [--tests PATH ...]

Each environment is deleted after its tests. The rows in benchmarks/versions.csv and the
table in docs/versions.md are updated after each; the others keep their last result.
"""

import argparse
import csv
import io
import json
import shlex
import subprocess
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple, TextIO

from rich.console import Console
from rich.table import Table

from mmpatchconvnet.atomic_files import atomic_write
from mmpatchconvnet.engine.provenance import git_state
from mmpatchconvnet.experiments.rows import Row, read_rows
from mmpatchconvnet.experiments.tables import fill_tables, markdown

ROOT = Path(__file__).resolve().parents[1]
ROWS, PAGE = ROOT / 'benchmarks/versions.csv', ROOT / 'docs/versions.md'
LOGS = ROOT / 'work_dirs/versions'

PACKAGES = ('torch', 'numpy', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain')
COLUMNS = (
    *('environment', 'python', *PACKAGES),
    *('tests', 'passed', 'failed', 'skipped', 'error', 'commit', 'date'),
)


class Environment(NamedTuple):
    """What is fixed in an environment; pip chooses the rest.

    Args:
        name: Name of its row.
        python: Version of Python.
        versions: Requirements besides those of the package.
        extra: The distribution of the hosts, an extra of the package.
    """

    name: str
    python: str = '3.11'
    versions: tuple[str, ...] = ()
    extra: str = 'onedl'


ENVIRONMENTS = (
    Environment('torch-2.4', versions=('torch==2.4.*',)),
    Environment('torch-2.9', versions=('torch==2.9.*',)),
    Environment('torch-2.14', versions=('torch==2.14.1',)),
    Environment('torch-newest'),
    Environment('python-3.10', '3.10', versions=('torch==2.14.1',)),
    Environment('python-3.12', '3.12', versions=('torch==2.14.1',)),
    Environment('python-3.13', '3.13', versions=('torch==2.14.1',)),
    Environment('originals', extra='openmmlab', versions=('numpy==1.26.*',)),
    Environment('originals-numpy-2', extra='openmmlab', versions=('numpy>=2',)),
)

# Run in the environment: the versions there, as JSON.
VERSIONS = """
import json
from importlib.metadata import version
from mmpatchconvnet.compat.hosts import package_versions
print(json.dumps(dict(package_versions(), numpy=version('numpy'))))
"""


class Failure(Exception):
    """The reason why an environment could not be made, or has no result."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [environment.name for environment in ENVIRONMENTS]
    parser.add_argument('--only', nargs='+', choices=names, default=names)
    parser.add_argument(
        '--tests', nargs='+', default=[], metavar='PATH', help='default: all fast ones'
    )
    parser.add_argument(
        '--keep', type=Path, metavar='FOLDER', help='keep environments, use those there'
    )
    settings = parser.parse_args()
    for environment in ENVIRONMENTS:
        if environment.name in settings.only:
            save(measure(environment, settings.tests, settings.keep))
    rows = read_rows(ROWS)
    shown = [name for name in COLUMNS if name not in ('tests', 'commit')]
    table = Table(*shown)
    for row in rows:
        table.add_row(*[row[name] for name in shown])
    Console().print(table)


def save(row: Row) -> None:
    """Replace the row of this environment, and the table in the page."""
    known = {old['environment']: old for old in read_rows(ROWS)}
    known[row['environment']] = row
    rows = [known[one.name] for one in ENVIRONMENTS if one.name in known]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    atomic_write(ROWS, text.getvalue().encode())
    table = markdown(COLUMNS, [list(row.values()) for row in rows])
    page = fill_tables(PAGE.read_text(), 'versions', lambda _: table)
    atomic_write(PAGE, page.encode())


def measure(environment: Environment, tests: Sequence[str], keep: Path | None) -> Row:
    """Make an environment, run tests in it and delete it, or keep it in a folder."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f'{environment.name}.log'
    print(f'{environment.name}: what it prints is in {log}', flush=True)
    row = dict.fromkeys(COLUMNS, '')
    row |= dict(
        environment=environment.name,
        python=environment.python,
        tests=', '.join(Path(t).stem.removeprefix('test_') for t in tests) or 'all',
        commit=commit(),
        date=str(date.today()),
    )
    with tempfile.TemporaryDirectory() as folder, log.open('w') as output:
        try:
            venv = (keep or Path(folder)).absolute() / environment.name
            python = install(environment, venv, output)
            row |= versions(python, output)
            row |= run_tests(python, tests, Path(folder, 'report.xml'), output)
        except Failure as failure:
            row['error'] = str(failure).replace('|', '/')
    return row


def install(environment: Environment, venv: Path, output: TextIO) -> Path:
    """Install the package into an environment; return its interpreter."""
    base = f'python{environment.python}'
    if call([base, '--version'], output):
        raise Failure(f'there is no {base} on this machine')
    python = venv / 'bin/python'
    pip = [str(python), '-m', 'pip', 'install']
    package = f'.[{environment.extra},export]'
    for command in (
        *([] if python.is_file() else [[base, '-m', 'venv', str(venv)]]),
        [*pip, '--upgrade', 'pip'],
        [
            *(*pip, *environment.versions, 'hypothesis', 'pytest'),
            *('--config-settings', 'editable_mode=compat', '--editable', package),
        ],
    ):
        if call(command, output):
            output.flush()
            lines = Path(output.name).read_text().splitlines()
            errors = [line for line in lines if line.startswith('ERROR: ')]
            raise Failure((errors or lines)[-1].removeprefix('ERROR: '))
    return python


def versions(python: Path, output: TextIO) -> Row:
    """The versions that pip chose."""
    done = subprocess.run(
        [python, '-c', VERSIONS], cwd=ROOT, stdout=subprocess.PIPE, stderr=output
    )
    if done.returncode:
        raise Failure('the package cannot be imported')
    found = json.loads(done.stdout)
    return {name: found[name] for name in ('python', *PACKAGES) if name in found}


def run_tests(python: Path, tests: Sequence[str], report: Path, output: TextIO) -> Row:
    """How many tests passed, failed and were skipped."""
    pytest = [str(python), '-m', 'pytest', '-m', 'not slow', '--tb=short']
    call([*pytest, f'--junit-xml={report}', *tests], output)
    if not report.is_file():
        raise Failure('pytest has no result')
    counts = ElementTree.parse(report).getroot()[0].attrib
    total, skipped = int(counts['tests']), int(counts['skipped'])
    failed = int(counts['failures']) + int(counts['errors'])
    return dict(
        passed=str(total - skipped - failed), failed=str(failed), skipped=str(skipped)
    )


def call(command: Sequence[str], output: TextIO) -> int:
    """Run a command in the clone, with what it prints in the log; return its status."""
    print('$', shlex.join(command), file=output, flush=True)
    try:
        return subprocess.run(
            command, cwd=ROOT, stdout=output, stderr=output
        ).returncode
    except FileNotFoundError as error:
        print(error, file=output)
        return 127


def commit() -> str:
    """The commit that is tested, with a + if files of the package are modified."""
    state = git_state(ROOT) or dict(commit='', dirty=False)
    return state['commit'][:10] + '+' * state['dirty']


if __name__ == '__main__':
    main()
