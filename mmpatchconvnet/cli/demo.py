"""Train a classifier, an UperNet and a Mask R-CNN on generated scenes.

It writes a report and takes about seven minutes on two CPU cores.
"""

import argparse
from pathlib import Path

from mmpatchconvnet.cli.errors import exit_on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/demo'),
        help='folder for the scenes, the runs and report.html (%(default)s)',
    )


def run(work_dir: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from mmpatchconvnet.experiments.demo import results_table, run_demo
    from mmpatchconvnet.experiments.runs import TrainingError

    console = Console()
    with exit_on(OSError, TrainingError):
        report = results_table(run_demo(work_dir, console))
    table = Table(*report.columns, title='mmpatchconvnet demo')
    for row in report.rows:
        table.add_row(*map(str, row))
    console.print()
    console.print(table)
    console.print(f'Pictures and curves: {work_dir}/report.html', soft_wrap=True)
