"""Compare configs over several seeds: one row per run.

Each run is a `mmpatchconvnet train` in its own process. Its row in a CSV file holds
what is needed to judge and to repeat the run.
"""

import json
import time
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from statistics import median

from rich.console import Console

from mmpatchconvnet.compat.hosts import HOSTS
from mmpatchconvnet.config_files import read_config
from mmpatchconvnet.engine.config_checks import check_config
from mmpatchconvnet.engine.launch import load_config
from mmpatchconvnet.engine.provenance import short_commit
from mmpatchconvnet.experiments.recipes import named, settings_of
from mmpatchconvnet.experiments.rows import append_row, read_rows
from mmpatchconvnet.experiments.runs import logged_values, newest_log, run_training
from mmpatchconvnet.experiments.scores import ON_TRAINING, main_score, scores_of
from mmpatchconvnet.experiments.training_score import (
    score_training_pictures,
    use_training_pictures,
)

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


def check_header(rows_file: Path) -> None:
    """Raise if a file has rows that lack the name of the data, as of older versions."""
    if any('data' not in row or ON_TRAINING not in row for row in read_rows(rows_file)):
        raise ValueError(
            f'{rows_file} has other columns, as of an older version: give another file '
            'to --rows.'
        )


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
