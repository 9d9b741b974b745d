"""Run a host's own tests with the ops of this package; say what passed, failed and why.

git clone https://github.com/open-mmlab/mmcv
python tools/host_tests.py mmcv tests/test_ops
python tools/host_tests.py mmcv tests/test_ops --without    # for comparison

The host that is installed is tested, not the one in the checkout. The rows in
benchmarks/host_tests.csv and the table in docs/ops.md are updated; other suites keep
their rows.
"""

import argparse
import csv
import io
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

from mmpatchconvnet.atomic_files import atomic_write
from mmpatchconvnet.cli.errors import exit_on
from mmpatchconvnet.compat.hosts import package_versions
from mmpatchconvnet.engine.provenance import git_state, short_commit
from mmpatchconvnet.experiments.rows import Row, read_rows
from mmpatchconvnet.experiments.tables import fill_tables, markdown

ROOT = Path(__file__).resolve().parents[1]
ROWS, PAGE = ROOT / 'benchmarks/host_tests.csv', ROOT / 'docs/ops.md'
COLUMNS = ('suite', 'ops', 'outcome', 'tests', 'why', 'versions', 'commit', 'date')
# Without the first entry of sys.path: the checkout, whose package is not installed.
PYTEST = (
    'import sys; sys.path.pop(0); {}import pytest; sys.exit(pytest.main(sys.argv[1:]))'
)

OPTIONS = ('--continue-on-collection-errors', '-p', 'no:cacheprovider')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option('checkout', type=Path, help='folder of the repository of a host')
    option('tests', nargs='+', help='files or folders in it, each in its own process')
    option('--without', action='store_true', help='without the ops of this package')
    settings = parser.parse_args()
    with exit_on(ValueError, OSError):
        rows = run_suite(settings.checkout, settings.tests, settings.without)
        save(rows)
    print(draw(rows))


def run_suite(checkout: Path, tests: Sequence[str], without: bool) -> list[Row]:
    """A row for each outcome and its reason."""
    outcomes: Counter[tuple[str, str]] = Counter()
    for path in tests:
        if not (checkout / path).exists():
            raise ValueError(f'{checkout / path} does not exist: give a path in there.')
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder, 'report.xml')
            code = PYTEST.format('' if without else 'import mmpatchconvnet; ')
            command = [sys.executable, '-W', 'ignore', '-c', code, path, '-q']
            done = subprocess.run(
                [*command, f'--junit-xml={report}', *OPTIONS],
                cwd=checkout,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
            if report.is_file():
                outcomes.update(outcomes_in(report))
            else:
                outcomes['failed', f'{path} ended with status {done.returncode}'] += 1
    found = package_versions()
    names = [name for name in found if name.startswith(('torch', 'mm'))]
    common = dict(
        versions=', '.join(f'{n} {found[n]}' for n in names if n != 'mmpatchconvnet'),
        commit=short_commit(git_state(ROOT)),
        date=str(date.today()),
    )
    suite = f'{checkout.resolve().name} {" ".join(tests)}'
    provided = 'none' if without else 'ours'
    order = sorted(outcomes.items(), key=lambda item: (item[0][0], -item[1]))
    return [
        dict(suite=suite, ops=provided, outcome=outcome, tests=str(count), why=why)
        | common
        for (outcome, why), count in order
    ]


def outcomes_in(report: Path) -> Iterator[tuple[str, str]]:
    """The outcome of each test of a JUnit file, and its reason."""
    for case in ElementTree.parse(report).getroot().iter('testcase'):
        outcome, why = 'passed', ''
        for result in case:
            if result.tag in ('failure', 'error'):
                outcome, why = 'failed', reason(result)
            elif result.tag == 'skipped':
                outcome, why = 'skipped', result.get('message', '')
        yield outcome, why


def reason(result: ElementTree.Element) -> str:
    """The missing op of a failed test, or the last line of its error."""
    text = f'{result.get("message")}\n{result.text}'
    if op := re.search(r"mmcv op '(\w+)'", text):
        return f'mmcv op {op[1]} is missing'
    lines = re.findall(r'^E +(\S.*)$', text, re.MULTILINE) or [text.strip()]
    kinds = [line for line in lines if re.match(r'[\w.]*(Error|Exception)\b', line)]
    return (kinds or lines)[-1].replace('|', '/')[:90]


def save(rows: Sequence[Row]) -> None:
    """Replace the rows of this suite, and the table in the page."""
    key = {(row['suite'], row['ops']) for row in rows}
    others = [r for r in read_rows(ROWS) if (r['suite'], r['ops']) not in key]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator='\n')
    writer.writeheader()
    writer.writerows([*others, *rows])
    atomic_write(ROWS, text.getvalue().encode())
    drawn = draw([*others, *rows])
    page = fill_tables(PAGE.read_text(), 'host tests', lambda _: drawn)
    atomic_write(PAGE, page.encode())


def draw(rows: Sequence[Row]) -> str:
    """The table of the page: a line for each outcome of a suite, with all reasons."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        key = row['suite'], row['ops'], row['outcome']
        groups.setdefault(key, []).append(row)
    lines = []
    for key, group in groups.items():
        reasons = [f'{row["why"]} ({row["tests"]})' for row in group if row['why']]
        count = sum(int(row['tests']) for row in group)
        lines.append((*key, str(count), ', '.join(reasons)))
    return markdown(COLUMNS[:5], lines)


if __name__ == '__main__':
    main()
