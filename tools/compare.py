"""Train configs with several seeds each, keep a row of every run, and show the spread.

python tools/compare.py CONFIG OTHER_CONFIG --data-root PATH --seeds 0 1 2
"""

import argparse
import os
from pathlib import Path

# Waiting CPU threads must not spin; OpenMP reads this when torch is imported.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

from rich.console import Console

from mmpatchconvnet.experiments.comparison import compare, draw_scores


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', nargs='+', type=Path, help='all for the same data')
    parser.add_argument('--data-root', type=Path, required=True, help='of the data')
    parser.add_argument(
        '--seeds', nargs='+', type=int, default=[0, 1, 2], help='0 1 2 if not given'
    )
    parser.add_argument(
        '--rows',
        type=Path,
        default=Path('work_dirs/comparison/rows.csv'),
        help='a CSV file (%(default)s); what has a row in it is not run again',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/comparison'),
        help='each run gets a folder in it (%(default)s)',
    )
    args = parser.parse_args()
    missing = [str(config) for config in args.configs if not config.is_file()]
    if missing:
        raise SystemExit(f'error: no file {", ".join(missing)}: give config files.')
    console = Console(highlight=False)
    try:
        rows = compare(
            args.configs, args.seeds, args.data_root, args.rows, args.work_dir, console
        )
    except (ValueError, RuntimeError) as error:
        raise SystemExit(f'error: {error}') from None
    console.print(f'\n{draw_scores(rows)}', markup=False, soft_wrap=True)
    console.print(f'Every run is a row of {args.rows}', markup=False, soft_wrap=True)


if __name__ == '__main__':
    main()
