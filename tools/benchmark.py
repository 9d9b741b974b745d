"""Measure speed and memory of models side by side; no data and no checkpoints needed.

python tools/benchmark.py --batch 8 --rows rows.csv
python tools/benchmark.py s60+lean swin-t --task detector --part model --training
"""

import argparse
import json
import os
from pathlib import Path

# Waiting CPU threads must not spin; OpenMP reads this when torch is imported.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import torch
from rich.console import Console

from mmpatchconvnet.experiments.benchmark.measure import draw, measure
from mmpatchconvnet.experiments.benchmark.subjects import (
    BASELINES,
    CONFIGS,
    MODES,
    SIZES,
)
from mmpatchconvnet.experiments.benchmark.workload import PARTS, Setting
from mmpatchconvnet.experiments.rows import append_row


def main() -> None:
    args = parse_arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    console = Console(highlight=False)
    setting = Setting(
        task=args.task,
        part=args.part,
        training=args.training,
        batch=args.batch,
        size=tuple(args.size or SIZES[args.task]),
        device=args.device,
    )
    ours = 's60+lean' if args.training else 's60+deploy'
    models = args.models or ['s60+reference', 's60', ours, *BASELINES]
    try:
        rows = measure(models, setting, args.rounds, args.warmup, console)
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f'error: {error}') from None
    console.print(draw(rows), soft_wrap=True)
    if args.rows:
        for row in rows:
            append_row(args.rows, row)
        with args.rows.with_suffix('.jsonl').open('a') as file:
            file.writelines(f'{json.dumps(row)}\n' for row in rows)
        console.print(f'Added to {args.rows} and its .jsonl', soft_wrap=True)


def parse_arguments() -> argparse.Namespace:
    modes = '\n'.join(f'  {name:10} {text}' for name, text in MODES.items())
    parts = '\n'.join(f'  {name:10} {text}' for name, text in PARTS.items())
    names = ', '.join(CONFIGS['classifier'])
    parser = argparse.ArgumentParser(
        description=f'{__doc__}\nModes, behind +:\n{modes}\n\nParts:\n{parts}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'models',
        nargs='*',
        help=f'{names}, or any config; modes behind it. Without any: a column in the '
        'official order of operations, ours, and the baselines',
    )
    parser.add_argument('--task', choices=CONFIGS, default='classifier')
    parser.add_argument('--part', choices=PARTS, default='backbone')
    parser.add_argument('--training', action='store_true', help='not inference')
    parser.add_argument('--batch', type=int, default=1, help='images at a time')
    parser.add_argument('--size', type=int, nargs=2, metavar=('HEIGHT', 'WIDTH'))
    parser.add_argument(
        '--device', choices=('cpu', 'cuda'),
        default='cuda' if torch.cuda.is_available() else 'cpu',
    )  # fmt: skip
    parser.add_argument('--threads', type=int, help='of the CPU')
    parser.add_argument('--rounds', type=int, default=20, help='times of each')
    parser.add_argument('--warmup', type=int, default=3, help='runs before')
    parser.add_argument('--rows', type=Path, help='a CSV file to add the rows to')
    return parser.parse_args()


if __name__ == '__main__':
    main()
