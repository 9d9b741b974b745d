"""Train three small models on generated scenes and write a report."""

from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from mmpatchconvnet.datasets import write_scenes
from mmpatchconvnet.experiments.runs import logged_values, run_training
from mmpatchconvnet.visualization.report import Picture, Section, Table, write_report


class Task(NamedTuple):
    """One training: its config, the layout of its data, and the score to report."""

    name: str
    config: str
    layout: str
    metric: str
    key: str
    scale: float  # factor of the logged score to 0..1
    target: float

    @property
    def folder(self) -> str:
        return Path(self.config).stem


class Result(NamedTuple):
    """The result of one training."""

    task: Task
    score: float
    seconds: float
    command: str


TASKS = (
    Task(
        'classifier',
        'mmpatchconvnet::demo/classifier_patchconvnet-tiny_scenes.py',
        'classes',
        'top-1',
        'accuracy/top1',
        0.01,
        0.90,
    ),
    Task(
        'UperNet',
        'mmpatchconvnet::demo/upernet_patchconvnet-tiny_scenes.py',
        'ade',
        'mIoU',
        'mIoU',
        0.01,
        0.60,
    ),
    Task(
        'Mask R-CNN',
        'mmpatchconvnet::demo/mask-rcnn_patchconvnet-tiny_scenes.py',
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
        work_dir: A folder for everything; results of an earlier run are replaced.
        console: Where progress is shown.

    Raises:
        TrainingError: A training has failed.
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
    """Train one task and read its score."""
    data_root = scenes / task.layout
    run = run_training(task.name, task.config, data_root, work_dir, console)
    score = task.scale * logged_values(work_dir, task.key)[-1]
    console.print(f'  {task.metric} {score:.3f} after {run.seconds:.0f} s')
    return Result(task, score, run.seconds, run.command)


def results_table(results: list[Result]) -> Table:
    return Table(
        ['model', 'score on held-out scenes', 'value', 'target', 'seconds'],
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
        'including start-up and evaluation.',
        result.command,
        [
            Picture(work_dir / 'predictions.png', 'Held-out scenes'),
            Picture(work_dir / 'curves.png', 'Losses, and the score at the end'),
        ],
    )
