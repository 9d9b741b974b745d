"""Convert a checkpoint between the official names and ours, or extract its backbone.

mmpatchconvnet convert to-ours deit://s60_224_1k s60.pth
mmpatchconvnet convert to-ours hatnet://tiny hat_tiny.pth
mmpatchconvnet convert to-official s60.pth official.pth
mmpatchconvnet convert backbone work_dirs/NAME/iter_400.pth backbone.pth
"""

import argparse

from mmpatchconvnet.cli.errors import exit_on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option(
        'mode',
        choices=('to-ours', 'to-official', 'backbone'),
        help='to-ours: an official file or name to an mmpretrain classifier; '
        'to-official: our classifier to the names of the official code; backbone: '
        'only the PatchConvNet or TransCNN of our classifier, detector or segmentor',
    )
    option(
        'source',
        metavar='IN',
        help='a file; for an official one also deit://, transcnn:// or hatnet:// with '
        'a name or a file',
    )
    option('target', metavar='OUT', help='the file to write, a dict of tensors')
    option('--overwrite', action='store_true', help='replace OUT if it exists')


def run(mode: str, source: str, target: str, overwrite: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from mmpatchconvnet.checkpoints import convert_file

    with exit_on(ValueError, OSError):
        groups = convert_file(mode, source, target, overwrite)
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style='bold')
    for title in ('part', 'tensors', 'parameters', 'old name', 'new name'):
        table.add_column(title, overflow='fold')
    for column in table.columns[1:3]:
        column.justify = 'right'
    for group in groups:
        table.add_row(
            group.part,
            str(group.tensors),
            f'{group.parameters:,}',
            group.old or '[dim]new[/]',
            group.new or '[dim]left out[/]',
        )
    console.print(table)
    written = [group for group in groups if group.new]
    console.print(
        f'\nWrote {sum(group.tensors for group in written)} tensors with '
        f'{sum(group.parameters for group in written):,} parameters to {target}',
        soft_wrap=True,
        markup=False,
    )
