"""Arguments that several commands share."""

import argparse
from pathlib import Path
from typing import Any


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add a config and options that override it; see `engine.launch.load_config`."""
    option = parser.add_argument
    option('config', help='a config file, or PACKAGE::FOLDER/NAME.py from a package')
    option('--work-dir', help='folder for logs, pictures and checkpoints')
    option('--data-root', help="folder of the data, instead of the config's data_root")
    option(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='the program that started the processes; pytorch means torchrun',
    )
    option(
        '--cfg-options',
        dest='options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='settings that replace those of the config, for example '
        'train_dataloader.batch_size=4',
    )


def add_deploy(parser: argparse.ArgumentParser) -> None:
    """Add `--deploy`, which is None, or a dtype for `switch_to_deploy`."""
    parser.add_argument(
        '--deploy',
        nargs='?',
        const='float32',
        choices=('float32', 'bfloat16', 'float16'),
        help='fold the model for inference first, and run it in this dtype '
        '(default: float32)',
    )


def whole_number(text: str) -> int:
    """A number of things, 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number')
    return int(text)


def fault_of_paths(model: str, paths: list[str], out: Path | None) -> str:
    """All that is missing of MODEL [CHECKPOINT] SOURCE --out DIR, or too much, or ''.

    A last path with the ending of weights is a checkpoint.
    """
    if len(paths) > 2:
        return f'{len(paths)} paths after the model are given'
    missing = []
    if not paths and model.endswith('.py'):
        missing += ['CHECKPOINT']
    if not paths or Path(paths[-1]).suffix in ('.pth', '.safetensors'):
        missing += ['SOURCE']
    if out is None:
        missing += ['--out DIR']
    return f'there is no {" and no ".join(missing)}' if missing else ''


class ConfigOptions(argparse.Action):
    """mmengine's `DictAction`, imported only when the option is given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        from mmengine.config import DictAction

        for pair in values:
            if '=' not in pair:
                raise argparse.ArgumentError(self, f'{pair!r} is not KEY=VALUE')
        DictAction(self.option_strings, self.dest)(parser, namespace, values)
