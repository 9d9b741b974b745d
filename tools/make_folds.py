"""Split training pictures into folds for cross-validation, by person or source.

python tools/make_folds.py DATA work_dirs/folds --by-name '[^_]+'
mmpatchconvnet compare CONFIG OTHER --data-root work_dirs/folds/* --seeds 0
"""

import argparse
from pathlib import Path

from mmpatchconvnet.cli.errors import exit_on


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option('source', type=Path, help='root of a data set; only its train is read')
    option('target', type=Path, help='new folder of the folds, each a data root')
    option('--folds', type=int, default=3, help='number of folds (%(default)s)')
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument(
        '--by-name',
        metavar='PATTERN',
        help='regular expression: file names that begin with the same match are a '
        "group, such as '[^_]+' for PERSON_PICTURE.jpg",
    )
    group.add_argument(
        '--by-field',
        metavar='NAME',
        help='images of a COCO file with the same value in this field are a group',
    )
    settings = parser.parse_args()

    from mmpatchconvnet.datasets.folds import by_field, by_name, write_folds

    with exit_on(ValueError, OSError):
        group_of = (
            by_name(settings.by_name)
            if settings.by_name
            else by_field(settings.by_field)
        )
        roots = write_folds(settings.source, settings.target, group_of, settings.folds)
    for root in roots:
        print(root)


if __name__ == '__main__':
    main()
