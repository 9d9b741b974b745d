"""Compare configs over several seeds: one row per run, mean and standard deviation.

Each run is a `mmpatchconvnet train` in its own process. Its row in a CSV file holds
what is needed to judge and to repeat the run.
"""

import hashlib
import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from mmengine.config import Config
from rich.console import Console

from mmpatchconvnet.compat.hosts import HOSTS
from mmpatchconvnet.config_files import ConfigError, datasets_of, read_config
from mmpatchconvnet.engine.config_checks import check_config
from mmpatchconvnet.engine.launch import load_config
from mmpatchconvnet.engine.nested import without
from mmpatchconvnet.engine.provenance import short_commit
from mmpatchconvnet.engine.unknown_arguments import explain_arguments
from mmpatchconvnet.experiments.complexity import (
    build_on_meta,
    count_macs,
    count_parameters,
)
from mmpatchconvnet.experiments.rows import append_row, read_rows
from mmpatchconvnet.experiments.runs import logged_values, newest_log, run_training
from mmpatchconvnet.experiments.tables import markdown
from mmpatchconvnet.experiments.training_score import (
    score_training_pictures,
    use_training_pictures,
)

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

# Top-level keys of a config that decide a score: model, data and schedule.
RECIPE_KEYS = (
    *('model', 'load_from', 'data_preprocessor'),
    *('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'),
    *('val_dataloader', 'val_evaluator', 'randomness'),
)
# Keys below them that change no score: the folder of the data, and speed.
NEUTRAL_KEYS = {'data_root', 'num_workers', 'persistent_workers', 'pin_memory'} | {
    *('block_impl', 'val_interval', '_scope_'),
}

# Packages whose versions a row records; configs inherit settings from them.
SOFTWARE = ('torch', 'mmengine', 'mmcv', *HOSTS, 'mmpatchconvnet')


def compare(
    configs: Sequence[Path],
    seeds: Sequence[int],
    data_roots: Sequence[Path],
    rows_file: Path,
    work_dir: Path,
    console: Console,
    score_training: bool = False,
) -> list[dict[str, str]]:
    """Train every config with every seed on each data set, and append rows to a file.

    A run that already has a row is skipped. So a comparison can be stopped and resumed,
    or split between two processes with different configs.

    Args:
        configs: Config files, or `PACKAGE::FOLDER/NAME.py`, with different names; all
            need data in the same layout.
        seeds: Seeds of all random numbers.
        data_roots: Folders of the data, with different names: several for
            cross-validation, see `datasets/folds.py`.
        rows_file: The CSV file.
        work_dir: Each run gets a folder in it.
        console: Where progress is shown.
        score_training: Also score each model on its training pictures.

    Returns:
        The rows of these configs and seeds.

    Raises:
        ValueError: The file has a row of a config that has changed since, or rows with
            other columns; or a config does not find its data. Nothing is trained then.
        TrainingError: A training has failed.
    """
    names = [root.resolve().name for root in data_roots]
    if len(set(names)) < len(names):
        raise ValueError(
            f'several data sets have the same name among {", ".join(names)}: rename '
            'their folders, as rows tell them apart by name.'
        )
    recipes = {}
    for config in configs:  # these raise before any training
        recipes[config] = settings_of(config)['recipe']
        if score_training:
            use_training_pictures(read_config(str(config)))
    check_header(rows_file)
    measured = read_rows(rows_file)
    for config, data_root in product(configs, data_roots):
        keys = [key_of(config, data_root, seed) for seed in seeds]
        if None in [find_row(measured, key, recipes[config]) for key in keys]:
            check_data_of(config, data_root)
    runs = list(product(seeds, data_roots, configs))
    rows = []
    for number, (seed, data_root, config) in enumerate(runs, 1):
        settings = settings_of(config)  # read again, hours later
        key = key_of(config, data_root, seed)
        name = key['data']
        row = find_row(read_rows(rows_file), key, settings['recipe'])
        if row and score_training and not row[ON_TRAINING]:
            raise ValueError(
                f'the row of {config.stem} with seed {seed} on {name} has no score on '
                'training pictures: remove the row, or leave out --score-training.'
            )
        if row is None:
            run = run_training(
                f'{number}/{len(runs)} {config.stem}, {name}, seed {seed}',
                config,
                data_root,
                work_dir / config.stem / name / f'seed{seed}',
                console,
                ['--seed', str(seed)],
            )
            training = ''
            if score_training:
                training = main_score(
                    score_training_pictures(config, data_root, run.work_dir, console)
                )
            row = {
                **key,
                **scores_of(run.work_dir),
                ON_TRAINING: training,
                **settings,
                **run_details_of(run.work_dir),
            }
            append_row(rows_file, row)
        rows.append(row)
    return rows


def key_of(config: Path, data_root: Path, seed: int) -> dict[str, str]:
    """The columns that tell a run from others."""
    return dict(config=config.stem, data=data_root.resolve().name, seed=str(seed))


def check_data_of(config: Path, data_root: Path) -> None:
    """Raise what `mmpatchconvnet train` would."""
    with named(config):
        cfg = load_config(str(config), data_root=str(data_root))
        check_config(cfg, ('train_dataloader', 'val_dataloader'))


@contextmanager
def named(config: Path) -> Iterator[None]:
    """Say which of several configs a ConfigError is about."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f'{config}: {error}') from None


def settings_of(config: Path) -> dict[str, str]:
    """The columns of a row that follow from its config."""
    cfg = read_config(str(config))
    recipe = recipe_of(cfg)  # first, as hosts change a config when they build it
    with named(config), explain_arguments(cfg):
        model: Any = build_on_meta(cfg)
    datasets = datasets_of(cfg, 'train_dataloader')
    sizes = {training_size(dataset.get('pipeline') or ()) for dataset in datasets}
    size = sizes.pop() if len(sizes) == 1 else None
    steps = cfg.train_cfg.get('max_iters') or f'{cfg.train_cfg.max_epochs} epochs'
    return {
        'recipe': recipe,
        'steps': str(steps),
        'batch': str(cfg.train_dataloader.batch_size),
        'learning rate': str(cfg.optim_wrapper.optimizer.get('lr', '')),
        'backbone parameters': str(count_parameters(model.backbone)),
        'parameters': str(count_parameters(model)),
        'multiply-adds': str(count_macs(model, *size)) if size else '',
    }


def training_size(pipeline: Sequence[dict]) -> tuple[int, int] | None:
    """Height and width of training images, if the last crop of the pipeline sets them.

    None if there is no crop, if a step resizes after it, or if the crop is a share of
    the image or of a random size.
    """
    for step in reversed(pipeline):
        kind = step['type'].split('.')[-1]
        if 'Crop' in kind:
            size = step.get('crop_size') or step.get('scale')
            size = (size, size) if isinstance(size, int) else tuple(size or ())
            fixed = step.get('crop_type', 'absolute') == 'absolute'
            if fixed and [type(side) for side in size] == [int, int]:
                return size
            break
        if 'Resize' in kind:
            break
    return None


def recipe_of(cfg: Config) -> str:
    """A hash of the settings that decide a score, ours and the hosts'.

    Hooks, helper variables, folders and the implementation of a block may change
    without a new measurement.
    """
    settings = without({key: cfg.get(key) for key in RECIPE_KEYS}, NEUTRAL_KEYS)
    text = json.dumps(settings, sort_keys=True, default=str)
    root = (cfg.get('data_root') or '').rstrip('/') + '/'
    text = text.replace(json.dumps(root)[:-1], '"')  # where a string starts with it
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def scores_of(work_dir: Path) -> dict[str, str]:
    """The scores of the last validation; '' for scores of other tasks."""
    scores = {}
    for key, (title, factor) in SCORES.items():
        values = logged_values(work_dir, key)
        scores[title] = f'{values[-1] * factor:.2f}' if values else ''
    return scores


def check_header(rows_file: Path) -> None:
    """Raise if a file has rows that lack the name of the data, as of older versions."""
    if any('data' not in row or ON_TRAINING not in row for row in read_rows(rows_file)):
        raise ValueError(
            f'{rows_file} has other columns, as of an older version: give another file '
            'to --rows.'
        )


def main_score(metrics: dict[str, float]) -> str:
    """The score of the task: top-1, mIoU, mask AP or, without masks, box AP."""
    key = next((key for key in MAIN_SCORES if key in metrics), None)
    return f'{metrics[key] * SCORES[key][1]:.2f}' if key else ''


def run_details_of(work_dir: Path) -> dict[str, str]:
    """Speed, machine and software of a run."""
    environment = json.loads((newest_log(work_dir) / 'environment.json').read_text())
    packages = environment['packages']
    return {
        's per step': f'{median(logged_values(work_dir, "time")):.3f}',
        'threads': str(environment['threads']),
        'device': (environment['gpus'] or [environment['cpu']])[0],
        **{name: packages.get(name, '') for name in SOFTWARE},
        'commit': short_commit(environment['git']),
        'date': time.strftime('%Y-%m-%d'),
    }


def find_row(
    rows: Iterable[dict[str, str]], key: dict[str, str], recipe: str
) -> dict[str, str] | None:
    """The row of a run, or None; a row of another recipe is an error.

    Args:
        rows: Rows that `compare` has written.
        key: The columns `config`, `data` and `seed` of the run.
        recipe: The column `recipe`.
    """
    for row in rows:
        if row.items() >= key.items():
            if row['recipe'] != recipe:
                raise ValueError(
                    f'there is a row of {key["config"]} with seed {key["seed"]} on '
                    f'{key["data"]}, but the config or its base in a host has changed '
                    'since: remove the row, or give another file to --rows.'
                )
            return row
    return None


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
