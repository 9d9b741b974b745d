"""Plot measured rows: accuracy over cost, cost over image size, or faithful maps.

mmpatchconvnet plot accuracy rows.csv a.png --where pass=inference batch=8
mmpatchconvnet plot resolution rows.csv b.png --where pass=training
mmpatchconvnet plot faithfulness benchmarks/faithfulness.csv c.png --where data=scenes
"""

import argparse
from pathlib import Path

from mmpatchconvnet.cli.errors import exit_on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option(
        'kind', choices=('accuracy', 'resolution', 'faithfulness'), help='what to plot'
    )
    option('rows', type=Path, help='a CSV file of measured rows')
    option('picture', type=Path, help='the .png, .jpg or .webp file to write')
    option(
        '--where',
        nargs='*',
        default=[],
        metavar='COLUMN=VALUE',
        help='use only the rows with these values',
    )
    option(
        '--models',
        nargs='*',
        default=[],
        metavar='MODEL',
        help='use only these models, coloured in this order',
    )


def run(
    kind: str, rows: Path, picture: Path, where: list[str], models: list[str]
) -> None:
    from mmpatchconvnet.experiments.benchmark.subjects import published_accuracy
    from mmpatchconvnet.experiments.rows import read_rows, select
    from mmpatchconvnet.visualization.faithfulness import plot_faithfulness
    from mmpatchconvnet.visualization.tradeoffs import plot_accuracy, plot_resolution

    with exit_on(ValueError, OSError):
        measured = read_rows(rows)
        if not measured:
            raise ValueError(f'{rows} has no rows: give a CSV file of measured rows.')
        chosen = select(measured, where)
        if models:
            chosen = [r for m in models for r in select(chosen, [f'model={m}'])]
        try:
            if kind == 'accuracy':
                plot_accuracy(chosen, published_accuracy(), picture)
            elif kind == 'resolution':
                plot_resolution(chosen, picture)
            else:
                plot_faithfulness(chosen, picture)
        except KeyError as error:
            raise ValueError(
                f'{rows} has no column {error}, which a plot of {kind} needs: give '
                'rows of mmpatchconvnet benchmark, or of tools/faithfulness.py for '
                'faithfulness.'
            ) from None
    print(picture)
