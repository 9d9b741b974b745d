"""Train configs with several seeds each and keep a row of every run.

python tools/compare.py configs/comparison/*_nuclei.py --data-root PATH --seeds 0 1 2
python tools/compare.py        # only draw the tables of the READMEs again
"""

import argparse
import os
from pathlib import Path

# Waiting CPU threads must not spin; OpenMP reads this when torch is imported.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

from rich.console import Console

from mmpatchconvnet.comparison import compare, fill_tables, read_rows

PAGES = ('README.md', 'configs/comparison/README.md', 'configs/ablation/README.md')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', nargs='*', type=Path, help='all for the same data')
    parser.add_argument('--data-root', type=Path, help='folder of the data')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--rows', type=Path, default=Path('benchmarks/comparison.csv'))
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/comparison'))
    args = parser.parse_args()
    if args.configs and args.data_root is None:
        parser.error('the configs need --data-root PATH')
    try:
        compare(
            args.configs,
            args.seeds,
            args.data_root,
            args.rows,
            args.work_dir,
            Console(highlight=False),
        )
    except RuntimeError as error:
        raise SystemExit(f'error: {error}') from None
    for page in map(Path, PAGES):
        page.write_text(fill_tables(page.read_text(), read_rows(args.rows)))


if __name__ == '__main__':
    main()
