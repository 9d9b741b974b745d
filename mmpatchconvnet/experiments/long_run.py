"""A long training, and the same one interrupted at random: memory and final weights."""

import json
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from rich.console import Console

from mmpatchconvnet.checkpoints import load_file
from mmpatchconvnet.experiments.rows import append_row
from mmpatchconvnet.experiments.runs import TrainingError

LOOK = 0.2  # seconds between two looks at the log of a training
SIGNALS = ('SIGKILL', 'SIGTERM')


class Interruption(NamedTuple):
    """A signal, to be sent when the log of a training has reached a step."""

    step: int
    signal: str


def draw_interruptions(
    last_step: int, count: int, generator: random.Random
) -> list[Interruption]:
    """Steps in their order, each drawn from 1 to the last but one, with a signal."""
    steps = sorted(generator.randrange(1, last_step) for _ in range(count))
    return [Interruption(step, generator.choice(SIGNALS)) for step in steps]


def train(
    command: Sequence[str],
    work_dir: Path,
    interruptions: Sequence[Interruption],
    generator: random.Random,
    rows_file: Path,
    interval: float,
) -> None:
    """Train to the end in processes of its own, resuming after each interruption.

    Args:
        command: Starts the training; `--work-dir`, and `--resume` after an
            interruption, are added.
        work_dir: Folder of the training; its name is that of the rows.
        interruptions: In the order of their steps.
        generator: Draws how long after its step a signal is sent.
        rows_file: A CSV file; each event and each measurement of memory is a row.
        interval: Seconds between two measurements of memory.

    Raises:
        TrainingError: A training has ended by itself with an error, or before its
            interruption.
    """
    start = time.monotonic()

    def note(event: str, process: psutil.Process | None = None) -> None:
        memory = memory_of(process) if process is not None else None
        append_row(
            rows_file,
            {
                'run': work_dir.name,
                'seconds': f'{time.monotonic() - start:.1f}',
                'step': str(last_step(work_dir)),
                'event': event,
                'memory, MB': '' if memory is None else f'{memory / 2**20:.1f}',
            },
        )

    for number, stop in enumerate([*interruptions, None]):
        resume = ['--resume'] if number else []
        with subprocess.Popen(
            [*command, '--work-dir', str(work_dir), *resume],
            stdout=subprocess.DEVNULL,
        ) as training:
            note('resumed' if number else 'started')
            process = psutil.Process(training.pid)
            measured = time.monotonic()
            while training.poll() is None:
                time.sleep(LOOK)
                if time.monotonic() > measured + interval:
                    measured = time.monotonic()
                    note('', process)
                if stop is not None and last_step(work_dir) >= stop.step:
                    time.sleep(generator.uniform(0, 2 * LOOK))
                    training.send_signal(signal.Signals[stop.signal])
                    training.wait()
                    note(f'stopped by {stop.signal}')
        if stop is None and training.returncode:
            raise TrainingError(
                f'{shlex.join(command)} has failed with exit status '
                f'{training.returncode}: the reason is above.'
            )
        if stop is not None and not training.returncode:
            raise TrainingError(
                f'the training in {work_dir} has ended before its interruption at step '
                f'{stop.step}: give more steps, or fewer interruptions.'
            )
    note('finished')


def last_step(work_dir: Path) -> int:
    """The last step that any run in a work dir has logged; 0 before the first."""
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'))
    for log in reversed(logs):
        for line in reversed(log.read_text().splitlines()):
            try:
                return json.loads(line)['step']
            except (ValueError, KeyError):  # half a line after SIGKILL, or a validation
                continue
    return 0


def memory_of(process: psutil.Process) -> int | None:
    """Bytes of anonymous memory of a process and its data workers; Linux alone tells.

    Files that are mapped, such as torch itself, are not counted: whether the system
    keeps them in memory does not depend on the training.
    """
    try:
        tree = [process, *process.children(recursive=True)]
        status = [Path(f'/proc/{one.pid}/status').read_text() for one in tree]
    except (psutil.NoSuchProcess, OSError):  # it ends
        return None
    found = [re.search(r'RssAnon:\s+(\d+) kB', text) for text in status]
    return sum(int(match[1]) * 1024 for match in found if match)


def differing_tensors(first: Path, second: Path) -> list[str]:
    """Names of all tensors of two checkpoints that are not equal to the bit.

    Weights, optimizer and averaged weights are compared, not the log that mmengine
    keeps with them: it has times of steps.
    """
    contents = [load_file(path) for path in (first, second)]
    for content in contents:
        content.pop('message_hub', None)
    one, two = (dict(tensors_in(content)) for content in contents)
    return sorted(
        name
        for name in one.keys() | two.keys()
        if name not in one or name not in two or not torch.equal(one[name], two[name])
    )


def tensors_in(content: Any, name: str = '') -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors of nested dicts and sequences, by their path."""
    if isinstance(content, torch.Tensor):
        yield name, content
        return
    items: Any = ()
    if isinstance(content, dict):
        items = content.items()
    elif isinstance(content, list | tuple):
        items = enumerate(content)
    for key, value in items:
        yield from tensors_in(value, f'{name}.{key}' if name else str(key))


def run_long(
    config: str,
    data_root: Path,
    work_dir: Path,
    rows_file: Path,
    steps: int,
    interruptions: int,
    seed: int,
    options: Sequence[str],
    console: Console,
) -> list[str]:
    """Train a config twice, the second time with interruptions, and compare.

    Returns:
        Names of the tensors that differ at the end; empty if all are equal to the bit.

    Raises:
        TrainingError: A training has failed.
    """
    generator = random.Random(seed)
    command = [sys.executable, '-m', 'mmpatchconvnet', 'train', config]
    command += ['--data-root', str(data_root), '--seed', str(seed), '--quiet']
    command += ['--cfg-options', f'train_cfg.max_iters={steps}', *options]
    planned = draw_interruptions(steps, interruptions, generator)
    results = []
    for name, stops in (('uninterrupted', []), ('interrupted', planned)):
        folder = work_dir / name
        console.print(f'{name}: {steps} steps in {folder}, {len(stops)} interruptions')
        train(command, folder, stops, generator, rows_file, interval=10)
        results.append(folder / Path((folder / 'last_checkpoint').read_text()).name)
    return differing_tensors(*results)
