"""Say what is installed, and for anything missing the command that mends it."""

import shlex
import sys

from rich.console import Console
from rich.table import Table

from mmpatchconvnet.doctor import examine


def main() -> None:
    console = Console()
    table = Table(box=None, pad_edge=False, header_style='bold')
    for title in ('', 'part', 'state'):
        table.add_column(title, overflow='fold')
    remedies = []
    with console.status('looking around ...'):
        for finding in examine():
            mark = '[red]x[/]' if finding.remedy else '[green]ok[/]'
            table.add_row(mark, finding.name, finding.state)
            if finding.remedy:
                remedies.append(finding.remedy)
    console.print(table)
    if not remedies:
        console.print('\nNothing is missing.')
        return
    console.print('\nTo mend it:')
    for remedy in dict.fromkeys(remedies):
        command = remedy.replace('pip ', f'{shlex.quote(sys.executable)} -m pip ')
        console.print(f'  {command}', soft_wrap=True, highlight=False)
    raise SystemExit(1)


if __name__ == '__main__':
    main()
