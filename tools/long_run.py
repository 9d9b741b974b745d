"""Train for long, once without and once with random interruptions, and compare.

python tools/long_run.py CONFIG --data-root PATH

Memory, interruptions and the result are rows of a CSV file. Exit status 1 says that the
final weights differ.
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from mmpatchconvnet.cli.errors import exit_on


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option('config', help='a config that trains by steps')
    option('--data-root', type=Path, required=True, help='folder of the data')
    option('--steps', type=int, default=20_000, help='steps of a run (%(default)s)')
    option(
        '--interruptions',
        type=int,
        default=20,
        help='how often SIGKILL or SIGTERM ends the second run (%(default)s)',
    )
    option('--seed', type=int, default=0, help='of training and interruptions')
    option(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/long_run'),
        help='a folder that is not there yet (%(default)s)',
    )
    option(
        '--rows',
        type=Path,
        default=Path('work_dirs/long_run.csv'),
        help='CSV file of events and memory (%(default)s)',
    )
    option(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='further settings of the config',
    )
    settings = parser.parse_args()

    from mmpatchconvnet.experiments.long_run import run_long
    from mmpatchconvnet.experiments.runs import TrainingError

    if settings.work_dir.exists():
        sys.exit(f'{settings.work_dir} exists: remove it or give another --work-dir.')
    with exit_on(ValueError, ImportError, OSError, TrainingError):
        different = run_long(
            settings.config,
            settings.data_root,
            settings.work_dir,
            settings.rows,
            settings.steps,
            settings.interruptions,
            settings.seed,
            settings.cfg_options,
            Console(),
        )
    if different:
        sys.exit(f'{len(different)} tensors differ, {different[0]} among them.')
    print(f'weights and optimizer are equal to the bit; rows are in {settings.rows}.')


if __name__ == '__main__':
    main()
