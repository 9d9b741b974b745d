"""Train configs with several seeds each and report mean and standard deviation.

mmpatchconvnet compare CONFIG OTHER_CONFIG --data-root PATH --seeds 0 1 2
"""

import argparse
from pathlib import Path

from mmpatchconvnet.cli.errors import exit_on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option(
        'configs',
        nargs='+',
        type=Path,
        metavar='CONFIG',
        help='a config file, or PACKAGE::FOLDER/NAME.py; all need the same data',
    )
    option(
        '--data-root',
        nargs='+',
        type=Path,
        required=True,
        dest='data_roots',
        metavar='PATH',
        help='folder of the data; several, such as the folds of tools/make_folds.py, '
        'for cross-validation',
    )
    option(
        '--seeds',
        nargs='+',
        type=int,
        default=[0, 1, 2],
        metavar='SEED',
        help='random seeds, one run each (0 1 2)',
    )
    option(
        '--rows',
        type=Path,
        default=Path('work_dirs/comparison/rows.csv'),
        help='CSV file of results (%(default)s); runs with a row in it are skipped',
    )
    option(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/comparison'),
        help='each run gets a subfolder of it (%(default)s)',
    )
    option(
        '--score-training',
        action='store_true',
        help='also score each model on its training pictures',
    )


def run(
    configs: list[Path],
    seeds: list[int],
    data_roots: list[Path],
    rows: Path,
    work_dir: Path,
    score_training: bool,
) -> None:
    from rich.console import Console

    from mmpatchconvnet.experiments.comparison import compare
    from mmpatchconvnet.experiments.runs import TrainingError
    from mmpatchconvnet.experiments.scores import draw_scores

    console = Console(highlight=False)
    with exit_on(ValueError, OSError, TrainingError):
        measured = compare(
            configs, seeds, data_roots, rows, work_dir, console, score_training
        )
    table = draw_scores(measured)
    console.print(f'\n{table}', markup=False, soft_wrap=True)
    console.print(f'Every run is a row of {rows}', markup=False, soft_wrap=True)
