"""Draw rows of `tools/benchmark.py`: accuracy against cost, or cost against image size.

python tools/draw_benchmark.py accuracy rows.csv a.png --where pass=inference batch=8
python tools/draw_benchmark.py resolution rows.csv b.png --where pass=training
"""

import argparse
from pathlib import Path

from mmpatchconvnet.experiments.benchmark.subjects import published_accuracy
from mmpatchconvnet.experiments.rows import read_rows, select
from mmpatchconvnet.visualization.tradeoffs import plot_accuracy, plot_resolution


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('kind', choices=('accuracy', 'resolution'))
    parser.add_argument('rows', type=Path, help='a CSV file of tools/benchmark.py')
    parser.add_argument('picture', type=Path, help='the .png, .jpg or .webp to write')
    parser.add_argument(
        '--where', nargs='*', default=[], metavar='COLUMN=VALUE', help='rows to draw'
    )
    parser.add_argument(
        '--models', nargs='*', help='which, in the order of the colours'
    )
    args = parser.parse_args()
    try:
        rows = select(read_rows(args.rows), args.where)
        if args.models:
            rows = [r for m in args.models for r in select(rows, [f'model={m}'])]
        if args.kind == 'accuracy':
            plot_accuracy(rows, published_accuracy(), args.picture)
        else:
            plot_resolution(rows, args.picture)
    except ValueError as error:
        raise SystemExit(f'error: {error}') from None
    print(args.picture)


if __name__ == '__main__':
    main()
