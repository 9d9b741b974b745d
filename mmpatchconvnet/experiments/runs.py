"""Start `mmpatchconvnet train` as a user would, and read what it has logged."""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape


class TrainingError(RuntimeError):
    """A run that has failed, and has said why itself."""


class TrainingRun(NamedTuple):
    """A run that has finished without an error."""

    work_dir: Path
    seconds: float  # including start-up and evaluation
    command: str


def run_training(
    name: str,
    config: str | Path,
    data_root: Path,
    work_dir: Path,
    console: Console,
    options: Sequence[str] = (),
) -> TrainingRun:
    """Train a config in its own process, which writes to this terminal.

    Args:
        name: Name of the run, to be shown.
        config: A config file, or `PACKAGE::FOLDER/NAME.py`.
        data_root: Folder of the data.
        work_dir: Folder of logs, pictures and checkpoints.
        console: Where the command is shown. On a terminal the run shows a progress
            bar, elsewhere its log.
        options: Further arguments of `mmpatchconvnet train`.

    Raises:
        TrainingError: The training has failed.
    """
    folders = ['--data-root', str(data_root), '--work-dir', str(work_dir)]
    arguments = ['train', str(config), *folders, *options]
    quiet = ['--quiet'] if console.is_terminal else []
    start = time.monotonic()
    command = run_command(name, arguments, console, quiet)
    return TrainingRun(work_dir, time.monotonic() - start, command)


def run_command(
    name: str, arguments: Sequence[str], console: Console, hidden: Sequence[str] = ()
) -> str:
    """Run an `mmpatchconvnet` command in its own process, on this terminal.

    Args:
        name: Name of the run, to be shown.
        arguments: The command and its arguments.
        console: Where they are shown.
        hidden: Further arguments, not shown.

    Returns:
        The command, as shown.

    Raises:
        TrainingError: It has failed.
    """
    command = ['mmpatchconvnet', *arguments]
    shown = shlex.join(command)
    console.print(f'\n[bold]{escape(name)}[/]: {escape(shown)}', soft_wrap=True)
    status = subprocess.call([sys.executable, '-m', *command, *hidden])
    if status:
        raise TrainingError(
            f'{name} has failed with exit status {status}: the reason is above.'
        )
    return shown


def newest_log(work_dir: Path) -> Path:
    """The log folder of the last run in a work dir."""
    return max(work_dir.glob('*/vis_data/scalars.json')).parents[1]


def logged_values(work_dir: Path, key: str) -> list[float]:
    """All values of a key such as `time` or `mIoU` in the log of the last run."""
    lines = (newest_log(work_dir) / 'vis_data/scalars.json').read_text().splitlines()
    return [entry[key] for entry in map(json.loads, lines) if key in entry]
