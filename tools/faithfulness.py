"""Measure whether the maps of classifiers say what they need.

python tools/faithfulness.py work_dirs/NAME --pictures PATH --masks COCO.json
"""

import argparse
import shlex
import sys
from pathlib import Path

from mmpatchconvnet.cli.errors import exit_on


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option('work_dirs', nargs='+', type=Path, help='work dirs of trained classifiers')
    option('--pictures', type=Path, required=True, help='folder of pictures')
    option('--masks', type=Path, help='COCO file with masks of all things in them')
    option(
        '--every',
        type=int,
        default=1,
        metavar='N',
        help='use every Nth picture, to save time',
    )
    option(
        '--rows',
        type=Path,
        default=Path('work_dirs/faithfulness.csv'),
        help='CSV file of results (%(default)s)',
    )
    settings = parser.parse_args()

    from mmpatchconvnet.experiments.faithfulness import draw_faithfulness, measure
    from mmpatchconvnet.experiments.rows import measure_each

    given = settings.pictures, settings.masks, settings.every
    command = shlex.join(['python', *sys.argv])
    with exit_on(ValueError, ImportError, OSError):
        measured = measure_each(
            settings.work_dirs, lambda one: measure(one, *given, command), settings.rows
        )
    print(draw_faithfulness(measured))


if __name__ == '__main__':
    main()
