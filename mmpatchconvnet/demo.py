"""Trains three small models on generated scenes and reports what they have learned.

Each training is one run of `tools/train.py`, as a user would start it.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from mmpatchconvnet.datasets import write_scenes
from mmpatchconvnet.visualization.report import Picture, Section, Table, write_report

# The clone, or the folder of an installed wheel that holds tools and configs.
ROOT = (Path(__file__).parent / '.mim' / 'tools').resolve().parent
LOG_LINE = re.compile(r'Iter\(train\) *\[ *(\d+)/(\d+)\].* eta: (\S+).* loss: ([\d.]+)')


class Task(NamedTuple):
    """One training: its config, its layout of the scenes, and the score to report."""

    name: str
    config: str
    layout: str
    metric: str
    key: str
    scale: float  # of the logged score, to bring it to 0..1
    target: float

    @property
    def folder(self) -> str:
        return Path(self.config).stem


class Result(NamedTuple):
    """What one training gave."""

    task: Task
    score: float
    seconds: float
    command: str


TASKS = (
    Task(
        'classifier',
        'configs/demo/classifier_patchconvnet-tiny_scenes.py',
        'classes',
        'top-1',
        'accuracy/top1',
        0.01,
        0.90,
    ),
    Task(
        'UperNet',
        'configs/demo/upernet_patchconvnet-tiny_scenes.py',
        'ade',
        'mIoU',
        'mIoU',
        0.01,
        0.60,
    ),
    Task(
        'Mask R-CNN',
        'configs/demo/mask-rcnn_patchconvnet-tiny_scenes.py',
        'coco',
        'mask AP50',
        'coco/segm_mAP_50',
        1.0,
        0.60,
    ),
)


def run_demo(work_dir: str | Path, console: Console) -> list[Result]:
    """Write the scenes, run the tasks, and write `report.html`.

    Args:
        work_dir: A folder for everything; an earlier run's results are replaced.
        console: Where progress is shown.

    Raises:
        RuntimeError: A training has failed; the end of its log is in the message.
    """
    work_dir = Path(work_dir)
    scenes = write_scenes(work_dir / 'scenes', num_train=1000, num_val=100)
    results = []
    for task in TASKS:
        results.append(train(task, scenes, work_dir / task.folder, console))
    write_report(
        work_dir / 'report.html',
        'What mmpatchconvnet learned in a few minutes',
        'One column of 12 blocks, 128 wide, trained from random weights on generated '
        'scenes with two CPU cores. Everything below was held out from training.',
        results_table(results),
        [section(result, work_dir / result.task.folder) for result in results],
    )
    return results


def train(task: Task, scenes: Path, work_dir: Path, console: Console) -> Result:
    """One run of `tools/train.py`, with its progress on the console."""
    command = [
        'tools/train.py',
        task.config,
        '--data-root',
        os.path.relpath(scenes / task.layout, ROOT),
        '--work-dir',
        os.path.relpath(work_dir, ROOT),
    ]
    shown = f'{os.path.relpath(sys.executable, ROOT)} {" ".join(command)}'
    console.print(f'\n[bold]{task.name}[/]: {shown}', soft_wrap=True)
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
        bar = progress.add_task(task.name, total=None, status='starting')
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
        raise RuntimeError(f'{task.name} has failed:\n{"".join(last_lines)}')
    score = task.scale * last_score(work_dir, task.key)
    seconds = time.monotonic() - start
    console.print(f'  {task.metric} {score:.3f} after {seconds:.0f} s')
    return Result(task, score, seconds, shown)


def last_score(work_dir: Path, key: str) -> float:
    """The last validation score in the newest log of a work dir."""
    scalars = max(work_dir.glob('*/vis_data/scalars.json'))
    scores = [
        entry[key]
        for entry in map(json.loads, scalars.read_text().splitlines())
        if key in entry
    ]
    return scores[-1]


def results_table(results: list[Result]) -> Table:
    return Table(
        ['model', 'score on held-out scenes', 'reached', 'aim', 'seconds'],
        [
            [
                r.task.name,
                r.task.metric,
                round(r.score, 3),
                r.task.target,
                round(r.seconds),
            ]
            for r in results
        ],
    )


def section(result: Result, work_dir: Path) -> Section:
    return Section(
        result.task.name,
        f'{result.task.metric} {result.score:.3f} after {result.seconds:.0f} seconds, '
        'start-up and evaluation included.',
        result.command,
        [
            Picture(work_dir / 'predictions.png', 'Held-out scenes'),
            Picture(work_dir / 'curves.png', 'Losses, and the score at the end'),
        ],
    )
