"""The scores of runs, and their table: mean and standard deviation over seeds."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev

from mmpatchconvnet.experiments.runs import logged_values
from mmpatchconvnet.experiments.tables import markdown

# Key of a score in the log -> its name in tables, and its factor to percent.
SCORES = {
    'accuracy/top1': ('top-1', 1),
    'mIoU': ('mIoU', 1),
    'coco/bbox_mAP': ('box AP', 100),
    'coco/bbox_mAP_50': ('box AP50', 100),
    'coco/segm_mAP': ('mask AP', 100),
    'coco/segm_mAP_50': ('mask AP50', 100),
}
ON_TRAINING = 'on training pictures'
MAIN_SCORES = ('accuracy/top1', 'mIoU', 'coco/segm_mAP', 'coco/bbox_mAP')


def scores_of(work_dir: Path) -> dict[str, str]:
    """The scores of the last validation; '' for scores of other tasks."""
    scores = {}
    for key, (title, factor) in SCORES.items():
        values = logged_values(work_dir, key)
        scores[title] = f'{values[-1] * factor:.2f}' if values else ''
    return scores


def main_score(metrics: dict[str, float]) -> str:
    """The score of the task: top-1, mIoU, mask AP or, without masks, box AP."""
    key = next((key for key in MAIN_SCORES if key in metrics), None)
    return f'{metrics[key] * SCORES[key][1]:.2f}' if key else ''


def draw_scores(rows: Iterable[dict[str, str]], wanted: str = '') -> str:
    """Rows as a Markdown table with mean and standard deviation over runs.

    Args:
        rows: Rows that `compare` has written.
        wanted: A regular expression: only configs with a matching name, in the order
            of their rows. `PATTERN -> mask AP, mask AP50` shows only these scores.
    """
    pattern, _, columns = wanted.partition(' -> ')
    by_config: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        if re.search(pattern, row['config']):
            by_config.setdefault(row['config'], []).append(row)
    scores = [*(title for title, _ in SCORES.values()), ON_TRAINING]
    if columns:
        scores = [title for title in scores if title in columns.split(', ')]
    lines = [
        [
            f'`{config}`',
            in_units(runs[0]['backbone parameters'], 1e6),
            in_units(runs[0]['multiply-adds'], 1e9),
            *(
                mean_and_deviation([float(run[t]) for run in runs if run.get(t)])
                for t in scores
            ),
            str(len(runs)),
        ]
        for config, runs in by_config.items()
    ]
    titles = ['config', 'backbone, M', 'multiply-adds, G', *scores, 'runs']
    return markdown(titles, lines)


def in_units(number: str, unit: float) -> str:
    return f'{int(number) / unit:.2f}' if number else ''


def mean_and_deviation(values: Sequence[float]) -> str:
    """The mean and, for several values, the standard deviation."""
    if len(values) < 2:
        return ''.join(f'{value:.1f}' for value in values)
    return f'{mean(values):.1f} ± {stdev(values):.1f}'
