"""Configs against each other: several seeds each, a row for every run, and the spread.

A run is one of `tools/train.py` in a process of its own. Its row, in a CSV file, holds
what is needed to judge and to repeat it; the tables of the READMEs are drawn from it.
"""

import csv
import json
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from mmengine.config import Config
from rich.console import Console

from mmpatchconvnet.complexity import build_on_meta, count_macs, count_parameters
from mmpatchconvnet.training_runs import (
    ROOT,
    TrainingRun,
    logged,
    newest_log,
    run_training,
)

# The log's name of a score, that of a table, and what brings it to percent.
SCORES = {
    'accuracy/top1': ('top-1', 1),
    'mIoU': ('mIoU', 1),
    'coco/segm_mAP': ('mask AP', 100),
    'coco/segm_mAP_50': ('mask AP50', 100),
}
TABLE = re.compile(r'(<!-- scores: (.+?) -->\n).*?(<!-- end -->)', re.DOTALL)


def compare(
    configs: Sequence[Path],
    seeds: Sequence[int],
    data_root: Path,
    rows_file: Path,
    work_dir: Path,
    console: Console,
) -> None:
    """Train every config with every seed and append a row for each to a CSV file.

    What has a row already is passed over, so a comparison can be stopped and gone on
    with, or shared by two processes with other configs.

    Args:
        configs: Config files, all for the data at `data_root`.
        seeds: Seeds of all random numbers.
        data_root: Folder of the data.
        rows_file: The CSV file.
        work_dir: Each run gets a folder below it.
        console: Where progress is shown.
    """
    runs = [(seed, config) for seed in seeds for config in configs]
    for number, (seed, config) in enumerate(runs, 1):
        done = {(row['config'], row['seed']) for row in read_rows(rows_file)}
        if (config.stem, str(seed)) in done:
            continue
        run = run_training(
            f'{number}/{len(runs)} {config.stem}, seed {seed}',
            config,
            data_root,
            work_dir / config.stem / f'seed{seed}',
            console,
            ['--seed', str(seed)],
        )
        append_row(rows_file, row_of(run, config, seed))


def row_of(run: TrainingRun, config: Path, seed: int) -> dict[str, object]:
    """What is kept of a run; scores are those of the last validation."""
    cfg = Config.fromfile(ROOT / config)
    model = build_on_meta(cfg)
    backbone: Any = model.backbone
    crop = cfg.get('crop_size') or (cfg.size, cfg.size)
    environment = json.loads(
        (newest_log(run.work_dir) / 'environment.json').read_text()
    )
    packages, git = environment['packages'], environment['git'] or {}
    scores = {
        title: round(values[-1] * factor, 2)
        if (values := logged(run.work_dir, key))
        else ''
        for key, (title, factor) in SCORES.items()
    }
    return {
        'config': config.stem,
        'seed': seed,
        **scores,
        'steps': cfg.train_cfg.max_iters,
        'batch': cfg.train_dataloader.batch_size,
        'learning rate': cfg.optim_wrapper.optimizer.lr,
        'backbone parameters': count_parameters(backbone),
        'parameters': count_parameters(model),
        'multiply-adds': count_macs(model, *crop),
        's per step': round(median(logged(run.work_dir, 'time')), 3),
        'threads': environment['threads'],
        'device': (environment['gpus'] or [environment['cpu']])[0],
        'torch': packages['torch'],
        'mmpatchconvnet': packages['mmpatchconvnet'],
        'commit': f'{git.get("commit", "")[:10]}{"+" * bool(git.get("dirty"))}',
        'date': time.strftime('%Y-%m-%d'),
    }


def read_rows(rows_file: Path) -> list[dict[str, str]]:
    if not rows_file.is_file():
        return []
    with rows_file.open(newline='') as file:
        return list(csv.DictReader(file))


def append_row(rows_file: Path, row: dict[str, object]) -> None:
    new = not rows_file.is_file()
    rows_file.parent.mkdir(parents=True, exist_ok=True)
    with rows_file.open('a', newline='') as file:
        writer = csv.DictWriter(file, row, lineterminator='\n')
        if new:
            writer.writeheader()
        writer.writerow(row)


def draw_table(rows: Iterable[dict[str, str]]) -> str:
    """Rows as a Markdown table; seeds as mean and standard deviation."""
    by_config: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_config.setdefault(row['config'], []).append(row)
    titles = [
        title
        for title, _ in SCORES.values()
        if any(row[title] for runs in by_config.values() for row in runs)
    ]
    costs = ['backbone, M', 'multiply-adds, G']
    lines = [['config', *costs, *titles, 'seeds']]
    lines.append(['---'] * len(lines[0]))
    for config, runs in by_config.items():
        parameters = int(runs[0]['backbone parameters']) / 1e6
        macs = int(runs[0]['multiply-adds']) / 1e9
        scores = [spread([float(run[title]) for run in runs]) for title in titles]
        name, cost = f'`{config}`', [f'{parameters:.2f}', f'{macs:.2f}']
        lines.append([name, *cost, *scores, str(len(runs))])
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def spread(values: Sequence[float]) -> str:
    """Mean and, of several values, their standard deviation."""
    if len(values) == 1:
        return f'{values[0]:.1f}'
    return f'{mean(values):.1f} ± {stdev(values):.1f}'


def fill_tables(page: str, rows: Sequence[dict[str, str]]) -> str:
    """A page with its tables drawn anew.

    A table stands between `<!-- scores: PATTERN -->` and `<!-- end -->` and holds the
    configs that match the pattern, in the order of their rows.
    """

    def drawn(found: re.Match) -> str:
        chosen = [row for row in rows if re.search(found[2], row['config'])]
        return f'{found[1]}{draw_table(chosen)}{found[3]}'

    return TABLE.sub(drawn, page)
