"""Measure speed and memory of models side by side; no data or checkpoints needed.

mmpatchconvnet benchmark --batch 8 --rows rows.csv
mmpatchconvnet benchmark s60+lean swin-t --task detector --part model --training
"""

import argparse
import json
from pathlib import Path
from typing import Any

from mmpatchconvnet.cli.errors import exit_on
from mmpatchconvnet.experiments.benchmark.choices import (
    BASELINES,
    CONFIGS,
    MODES,
    PARTS,
    SIZES,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    modes = '\n'.join(f'  {name:10} {text}' for name, text in MODES.items())
    parts = '\n'.join(f'  {name:10} {text}' for name, text in PARTS.items())
    parser.epilog = f'modes:\n{modes}\n\nparts:\n{parts}'
    option = parser.add_argument
    option(
        'models',
        nargs='*',
        metavar='MODEL[+MODE]',
        help=f'{", ".join(CONFIGS["classifier"])}, or any config '
        '(default: the column in the official order of operations, ours and baselines)',
    )
    option(
        '--task',
        choices=CONFIGS,
        default='classifier',
        help='task of the models (%(default)s)',
    )
    option(
        '--part',
        choices=PARTS,
        default='backbone',
        help='part to measure, see below (%(default)s)',
    )
    option(
        '--training',
        action='store_true',
        help='measure forward and backward instead of inference',
    )
    option('--batch', type=int, default=1, help='batch size (%(default)s)')
    option(
        '--size',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='image size in pixels (default: the usual one of the task)',
    )
    option(
        '--device', choices=('cpu', 'cuda'), help='default: cuda if torch finds a GPU'
    )
    option('--threads', type=int, help='CPU threads (default: as torch chooses)')
    option(
        '--rounds', type=int, default=20, help='timed runs of each model (%(default)s)'
    )
    option(
        '--warmup', type=int, default=3, help='untimed runs before them (%(default)s)'
    )
    option('--rows', type=Path, help='CSV file to append the rows to')


def run(
    models: list[str],
    threads: int | None,
    rounds: int,
    warmup: int,
    rows: Path | None,
    **settings: Any,
) -> None:
    import torch
    from rich.console import Console

    from mmpatchconvnet.experiments.benchmark.measure import draw, measure
    from mmpatchconvnet.experiments.benchmark.workload import Setting
    from mmpatchconvnet.experiments.rows import append_row

    if threads:
        torch.set_num_threads(threads)
    settings['size'] = tuple(settings['size'] or SIZES[settings['task']])
    if settings['device'] is None:
        settings['device'] = 'cuda' if torch.cuda.is_available() else 'cpu'
    ours = 's60+lean' if settings['training'] else 's60+deploy'
    models = models or ['s60+reference', 's60', ours, *BASELINES]
    console = Console(highlight=False)
    with exit_on(ValueError, OSError):
        measured = measure(models, Setting(**settings), rounds, warmup, console)
        console.print(draw(measured), soft_wrap=True)
        if rows:
            for row in measured:
                append_row(rows, row)
            with rows.with_suffix('.jsonl').open('a') as file:
                file.writelines(f'{json.dumps(row)}\n' for row in measured)
            console.print(f'Added to {rows} and its .jsonl', soft_wrap=True)
