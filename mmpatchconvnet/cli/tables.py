"""Update the tables of the pages in a clone from its metafiles and measured rows.

mmpatchconvnet tables           # after adding or changing a config
mmpatchconvnet tables --rows    # after new rows of compare or benchmark
"""

import argparse

from mmpatchconvnet.cli.errors import in_one_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--rows',
        dest='only_rows',
        action='store_true',
        help='only the tables of measured rows, not those of the models',
    )


def run(only_rows: bool) -> None:
    from mmpatchconvnet.experiments.pages import fill_pages

    with in_one_line(ValueError):
        fill_pages(only_rows)
