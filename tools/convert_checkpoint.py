"""Convert a checkpoint between the official names and ours, or take out its backbone.

python tools/convert_checkpoint.py to-ours deit://s60_224_1k s60.pth
python tools/convert_checkpoint.py to-official s60.pth official.pth
python tools/convert_checkpoint.py backbone work_dirs/NAME/iter_400.pth backbone.pth
"""

import argparse
import os

# Waiting CPU threads must not spin; OpenMP reads this when torch is imported.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

from rich.console import Console
from rich.table import Table

from mmpatchconvnet.checkpoints import MODES, convert_file


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    modes = '; '.join(f'{mode}: {meaning}' for mode, meaning in MODES.items())
    parser.add_argument('mode', choices=MODES, help=modes)
    source = 'a file, or deit:// with the name or the file of an official one'
    parser.add_argument('source', metavar='IN', help=source)
    parser.add_argument('target', metavar='OUT', help='a file of bare tensors')
    parser.add_argument('--overwrite', action='store_true', help='replace OUT')
    args = parser.parse_args()
    try:
        groups = convert_file(args.mode, args.source, args.target, args.overwrite)
    except (ValueError, OSError) as error:
        raise SystemExit(f'error: {error}') from None

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style='bold')
    for title in ('part', 'tensors', 'parameters', 'old name', 'new name'):
        justify = 'right' if title in ('tensors', 'parameters') else 'left'
        table.add_column(title, justify=justify, overflow='fold')
    for group in groups:
        table.add_row(
            group.part,
            str(group.tensors),
            f'{group.parameters:,}',
            group.old,
            group.new or '[dim]left out[/]',
        )
    console.print(table)
    written = [group for group in groups if group.new]
    console.print(
        f'\nWrote {sum(group.tensors for group in written)} tensors with '
        f'{sum(group.parameters for group in written):,} parameters to {args.target}',
        soft_wrap=True,
        markup=False,
    )


if __name__ == '__main__':
    main()
