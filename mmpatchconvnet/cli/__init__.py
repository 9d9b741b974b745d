"""The console command `mmpatchconvnet`.

Each module that `COMMANDS` names is a command: its docstring is the text of `--help`,
`add_arguments` fills its parser and `run` runs it. torch and the hosts take seconds to
import, so only `run` imports them.
"""

import argparse
import os
import sys
from importlib import import_module
from io import TextIOWrapper

from mmpatchconvnet.version import __version__

COMMANDS = (
    'check',
    'train',
    'test',
    'predict',
    'attention',
    'export',
    'demo',
    'doctor',
    'convert',
    'compare',
    'benchmark',
    'plot',
    'tables',
)


def main(*command: str) -> None:
    """Run the command line of this process.

    Args:
        command: Inserted before the arguments, e.g. `train` by `tools/train.py`.
    """
    sys.argv[:1] = ['mmpatchconvnet', *command]
    # Waiting CPU threads must not spin: data workers and other programs share the
    # cores, and spinning made training 10 times slower. OpenMP reads this variable
    # when torch is imported.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    # A file name that is not UTF-8 is printed with escapes, as in errors.
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors='backslashreplace')
    arguments, unknown = build_parser().parse_known_args()
    settings = vars(arguments)
    run, refuse = settings.pop('run'), settings.pop('refuse')
    # argparse leaves out paths behind an option: MODEL --out DIR SOURCE.
    while 'paths' in settings and unknown and not unknown[0].startswith('-'):
        settings['paths'].append(unknown.pop(0))
    if unknown:
        refuse(f'unrecognized arguments: {" ".join(unknown)}')
    try:
        run(**settings)
    except KeyboardInterrupt:
        raise SystemExit('stopped.') from None


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog='mmpatchconvnet',
        description='PatchConvNet for mmpretrain, mmdet and mmsegmentation.',
    )
    parser.add_argument(
        '--version', action='version', version=__version__, help='show the version'
    )
    commands = parser.add_subparsers(
        metavar='COMMAND',
        required=True,
        help='the command to run; each has its own --help',
    )
    for name in COMMANDS:
        module = import_module(f'{__name__}.{name}')
        text = str(module.__doc__)
        command = commands.add_parser(
            name,
            help=text.partition('\n')[0],
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        # Of unknown arguments argparse would show the usage of the whole program.
        command.set_defaults(run=module.run, refuse=command.error)
    return parser
