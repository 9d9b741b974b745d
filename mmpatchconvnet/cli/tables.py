"""Update the tables in the pages of a clone from metafiles and measured rows.

mmpatchconvnet tables           # after adding or changing a config
mmpatchconvnet tables --rows    # after new rows of compare or benchmark
"""

import argparse

from mmpatchconvnet.cli.errors import exit_on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--rows',
        dest='only_rows',
        action='store_true',
        help='update only the tables of measured rows, not the tables of models',
    )


def run(only_rows: bool) -> None:
    from mmpatchconvnet.experiments.pages import fill_pages

    with exit_on(ValueError):
        fill_pages(only_rows)
