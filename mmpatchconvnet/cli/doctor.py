"""Report what is installed and how to install what is missing."""

import argparse
import shlex
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the command has no arguments."""


def run() -> None:
    from rich.console import Console
    from rich.markup import escape

    from mmpatchconvnet.compat.doctor import examine

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
    console.print('\nTo fix it:')
    for remedy in dict.fromkeys(remedies):
        command = remedy.replace('pip ', f'{shlex.quote(sys.executable)} -m pip ')
        console.print(f'  {command}', markup=False)
    raise SystemExit(1)
