"""Segment pictures by the maps of classifiers that have learned from names alone.

python tools/segment_by_maps.py work_dirs/NAME --data-root PATH
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
    option(
        '--data-root',
        type=Path,
        required=True,
        help='folder with images/{train,val} and '
        'annotations/instances_{train,val}.json, with masks of all things',
    )
    option(
        '--rows',
        type=Path,
        default=Path('work_dirs/map_segmentation.csv'),
        help='CSV file of results (%(default)s)',
    )
    settings = parser.parse_args()

    from mmpatchconvnet.experiments.map_segmentation import (
        draw_segmentation,
        measure_segmentation,
    )
    from mmpatchconvnet.experiments.rows import measure_each

    command = shlex.join(['python', *sys.argv])
    with exit_on(ValueError, ImportError, OSError):
        measured = measure_each(
            settings.work_dirs,
            lambda one: measure_segmentation(one, settings.data_root, command),
            settings.rows,
        )
    print(draw_segmentation(measured))


if __name__ == '__main__':
    main()
