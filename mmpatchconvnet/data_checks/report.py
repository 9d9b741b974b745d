"""Print what a check of all data has found."""

import time
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import track as draw_bar
from rich.table import Table

from mmpatchconvnet.data_checks.coco_pictures import CocoFile
from mmpatchconvnet.data_checks.findings import Findings
from mmpatchconvnet.data_checks.layout import DataFile, Layout, Track
from mmpatchconvnet.data_checks.sources import DataSource

SECONDS_BETWEEN_LINES = 10  # where there is no terminal for a bar


def progress(name: str, console: Console) -> Track:
    """Shows how many files of a data set are read: a bar on a terminal, else lines."""

    def track(files: list[DataFile]) -> Iterable[DataFile]:
        if console.is_terminal:
            return draw_bar(files, f'{name}: reading files', console=console)
        return print_lines(files, name, console)

    return track


def print_lines(
    files: list[DataFile], name: str, console: Console
) -> Iterator[DataFile]:
    """Print how many files are read, every ten seconds and at the end."""
    said = time.monotonic()
    for number, file in enumerate(files, 1):
        yield file
        if number == len(files) or time.monotonic() - said > SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            console.print(f'{name}: {number} of {len(files)} files read')


def print_report(
    checked: list[Layout | DataSource], together: list[Findings], console: Console
) -> int:
    """Print counts, sizes, classes and faults of each data set.

    Returns:
        How many errors there are.
    """
    errors = 0
    for one in checked:
        if isinstance(one, DataSource):
            kind = getattr(one.kind, '__name__', one.settings.get('type'))
            console.print(f'\n[bold]{one.name}[/]: not checked')
            console.print(
                f'  {kind} is not local, or loads its data by methods of its own.'
            )
            continue
        print_counts(one, console)
        errors += print_faults(one.findings, console)
        print_worst(one.findings, console)
    for findings in together:
        errors += print_faults(findings, console, quiet=True)
    return errors


def print_counts(layout: Layout, console: Console) -> None:
    """Print how many pictures there are, their sizes, and the shares of the classes."""
    path = layout.findings.title.rpartition(' of ')[0].strip('\'"')
    console.print(f'\n[bold]{layout.source.name}[/]: {escape(path)}', soft_wrap=True)
    console.print(f'  {len(layout.files)} pictures{spread(layout.sizes)}')
    counts = layout.class_counts()
    total = sum(counts.values())
    if total:
        table = Table(box=None, pad_edge=False, header_style='bold')
        table.add_column('  class')
        table.add_column(layout.counted, justify='right')
        table.add_column('share', justify='right')
        for name, count in counts.items():
            table.add_row(f'  {escape(name)}', f'{count:,}', f'{count / total:.1%}')
        console.print(table)
    if isinstance(layout, CocoFile) and layout.objects:
        sizes = layout.sizes_of_objects()
        console.print(
            f'  objects by size: {sizes["small"]} small (area below 32 x 32), '
            f'{sizes["medium"]} medium, {sizes["large"]} large (from 96 x 96)',
            soft_wrap=True,
        )


def spread(sizes: list[tuple[int, int]]) -> str:
    """Smallest, median and largest of sizes (width, height), in words.

    Example:
        >>> spread([(8, 6), (4, 3), (5, 4)])
        ', from 4 x 3 to 8 x 6, the median is 5 x 4'
    """
    if not sizes:
        return ''
    ranked = sorted(sizes, key=lambda size: size[0] * size[1])
    least, median, most = (
        f'{width} x {height}'
        for width, height in (ranked[0], ranked[len(ranked) // 2], ranked[-1])
    )
    if least == most:
        return f' of {least}'
    return f', from {least} to {most}, the median is {median}'


def print_faults(findings: Findings, console: Console, quiet: bool = False) -> int:
    """Print errors and warnings; return how many errors there are."""
    errors, warnings = findings.sentences(stops=True), findings.sentences(stops=False)
    for text in errors:
        console.print(f'  [red]error:[/] {escape(text)}', soft_wrap=True)
    for text in warnings:
        console.print(f'  [yellow]warning:[/] {escape(text)}', soft_wrap=True)
    if not errors and not warnings and not quiet:
        console.print('  [green]no faults[/]')
    return len(errors)


def print_worst(findings: Findings, console: Console) -> None:
    """Print the ten worst files."""
    worst = findings.worst_files()
    if worst:
        console.print('  worst files:')
    for file, faults in worst:
        what = ', '.join(f'{count} {fault}' for fault, count in faults.items())
        console.print(f'    {escape(file)}: {escape(what)}', soft_wrap=True)
