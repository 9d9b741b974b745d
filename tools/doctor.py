"""Say what is installed, and for anything missing the command that mends it."""

import shlex
import sys

from rich.console import Console
from rich.markup import escape

from mmpatchconvnet.compat.doctor import examine


def main() -> None:
    console = Console(highlight=False, soft_wrap=True)
    remedies = []
    for finding in examine():
        mark = '[red]x [/]' if finding.remedy else '[green]ok[/]'
        console.print(f'{mark} {finding.name:21}{escape(finding.state)}')
        if finding.remedy:
            remedies.append(finding.remedy)
    if not remedies:
        console.print('\nNothing is missing.')
        return
    console.print('\nTo mend it:')
    for remedy in dict.fromkeys(remedies):
        command = remedy.replace('pip ', f'{shlex.quote(sys.executable)} -m pip ')
        console.print(f'  {command}')
    raise SystemExit(1)


if __name__ == '__main__':
    main()
