"""One run of `tools/train.py`, as a user would start it, and what it scored."""

import json
import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

# The clone, or the folder of an installed wheel that holds tools and configs.
ROOT = (Path(__file__).parents[1] / '.mim' / 'tools').resolve().parent
# By iterations `[ 20/400]`, by epochs `[1][ 20/400]`; an eta may hold days and a comma.
LOG_LINE = re.compile(r'\(train\).*\[ *(\d+)/(\d+)\].* eta: (.+?)  .* loss: ([\d.]+)')


class TrainingRun(NamedTuple):
    """A run that ended well."""

    work_dir: Path
    seconds: float  # start-up and evaluation included
    command: str


def run_training(
    name: str,
    config: str | Path,
    data_root: Path,
    work_dir: Path,
    console: Console,
    options: Sequence[str] = (),
) -> TrainingRun:
    """Train a config in a process of its own, with its progress on the console.

    Args:
        name: What the progress bar calls it.
        config: A config file, relative to the clone.
        data_root: Folder of the data.
        work_dir: Folder of logs, pictures and checkpoints.
        console: Where progress is shown.
        options: Further arguments of `tools/train.py`.

    Raises:
        RuntimeError: The training has failed; the end of its log is in the message.
    """
    command = [
        'tools/train.py',
        str(config),
        '--data-root',
        os.path.relpath(data_root, ROOT),
        '--work-dir',
        os.path.relpath(work_dir, ROOT),
        *options,
    ]
    shown = f'{os.path.relpath(sys.executable, ROOT)} {" ".join(command)}'
    console.print(f'\n[bold]{name}[/]: {shown}', soft_wrap=True)
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    last_lines: deque[str] = deque(maxlen=20)
    with Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn('{task.fields[status]}'),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        bar = progress.add_task(name, total=None, status='starting')
        for line in process.stdout:
            last_lines.append(line)
            if found := LOG_LINE.search(line):
                step, steps, eta, loss = found.groups()
                status = f'eta {eta}  loss {float(loss):.3f}'
                progress.update(
                    bar, completed=int(step), total=int(steps), status=status
                )
                if not console.is_terminal and int(step) % 100 == 0:
                    console.print(f'  step {step}/{steps}  {status}')
    if process.wait():
        raise RuntimeError(f'{name} has failed:\n{"".join(last_lines)}')
    return TrainingRun(work_dir, time.monotonic() - start, shown)


def newest_log(work_dir: Path) -> Path:
    """The log folder of the last run in a work dir."""
    return max(work_dir.glob('*/vis_data/scalars.json')).parents[1]


def logged(work_dir: Path, key: str) -> list[float]:
    """All values of one key in the log of the last run, such as `time` or `mIoU`."""
    lines = (newest_log(work_dir) / 'vis_data/scalars.json').read_text().splitlines()
    return [entry[key] for entry in map(json.loads, lines) if key in entry]
