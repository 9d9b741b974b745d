"""Find out which of mmcv's ops the models of the hosts' own configs call.

python tools/ops_table.py [mmdet mmseg mmpretrain]

It builds about 2000 models and takes half an hour; an interrupted run can be repeated.
`mmpatchconvnet tables --rows` then updates docs/ops.md. Delete the rows first if
another release of a host is installed.
"""

import argparse
from pathlib import Path

from mmpatchconvnet.cli.errors import exit_on

HOSTS = ('mmdet', 'mmseg', 'mmpretrain')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'hosts', nargs='*', default=HOSTS, help='whose configs (all that are supported)'
    )
    parser.add_argument(
        '--rows',
        type=Path,
        default=Path('benchmarks/stock_configs.csv'),
        help='CSV file of results (%(default)s)',
    )
    settings = parser.parse_args()

    from mmpatchconvnet.experiments.rows import read_rows
    from mmpatchconvnet.experiments.stock_configs import draw_stock, measure

    with exit_on(ValueError, OSError):
        measure(settings.hosts, settings.rows)
    print(draw_stock(read_rows(settings.rows), 'hosts'))


if __name__ == '__main__':
    main()
