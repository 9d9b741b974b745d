"""Train a classifier, an UperNet and a Mask R-CNN on generated scenes, and report."""

import argparse

from rich.console import Console
from rich.table import Table

from mmpatchconvnet.experiments.demo import results_table, run_demo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--work-dir', default='work_dirs/demo')
    args = parser.parse_args()

    console = Console()
    results = run_demo(args.work_dir, console)
    report = results_table(results)
    table = Table(*report.columns, title='mmpatchconvnet demo')
    for row in report.rows:
        table.add_row(*map(str, row))
    console.print()
    console.print(table)
    console.print(f'Pictures and curves: {args.work_dir}/report.html', soft_wrap=True)


if __name__ == '__main__':
    main()
