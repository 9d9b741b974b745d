"""Measure the costs of models side by side, one row per model."""

import shlex
import sys
import time
from collections.abc import Callable, Sequence

import torch
from mmengine.config import Config
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from mmpatchconvnet.compat.hosts import package_versions
from mmpatchconvnet.compat.processor import cpu_capability, cpu_name, product_library
from mmpatchconvnet.engine.provenance import (
    CLONE,
    git_state,
    short_commit,
)
from mmpatchconvnet.experiments.benchmark.memory import (
    peak_memory,
    saved_activation_bytes,
)
from mmpatchconvnet.experiments.benchmark.subjects import make_model, parse_spec
from mmpatchconvnet.experiments.benchmark.timing import (
    quartiles,
    take_turns,
    time_once,
)
from mmpatchconvnet.experiments.benchmark.workload import (
    Setting,
    build_step,
    count_costs,
)
from mmpatchconvnet.experiments.rows import Row
from mmpatchconvnet.experiments.tables import markdown
from mmpatchconvnet.models.block.triton import tf32_is_allowed


def measure(
    specs: Sequence[str], setting: Setting, rounds: int, warmup: int, console: Console
) -> list[Row]:
    """Measure models in turns, in one process.

    Args:
        specs: Models and their modes, see `subjects.py`.
        setting: The part, pass, batch and device to measure.
        rounds: Timed runs of each model.
        warmup: Untimed runs before them; the first one may compile.
        console: Where progress is shown.

    Returns:
        A row per model; times are medians and quartiles.

    Raises:
        ValueError: A model or mode that is not available.
    """
    parsed = {spec: parse_spec(spec, setting.task, setting.training) for spec in specs}
    if setting.device == 'cuda' and not torch.cuda.is_available():
        raise ValueError('torch finds no GPU: give --device cpu.')
    for spec, (_, modes) in parsed.items():
        if 'triton' in modes and setting.device == 'cpu':
            raise ValueError(
                f'{spec}: triton is for a GPU: leave the mode out on a CPU.'
            )
    steps, rows = {}, []
    bar = Progress(
        TextColumn('{task.description:28}'),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        ready = bar.add_task('build and warm up', total=len(parsed))
        for spec, (cfg, modes) in parsed.items():
            steps[spec], costs = prepare(cfg, modes, setting, warmup)
            rows.append({'model': spec, **costs})
            bar.advance(ready)
        timed = bar.add_task('take turns', total=rounds * len(parsed))
        seconds = take_turns(steps, rounds, setting.device, lambda: bar.advance(timed))
    shared = {
        **setting_columns(setting),
        'rounds': str(rounds),
        **machine_columns(setting.device),
    }
    for row in rows:
        row.update(speed_columns(seconds[row['model']], setting.batch), **shared)
    return rows


def prepare(
    cfg: Config, modes: list[str], setting: Setting, warmup: int
) -> tuple[Callable[[], None], Row]:
    """The step to time, warmed up, and the columns that need no timing."""
    model = make_model(cfg, modes)
    parameters, multiply_adds = count_costs(model, setting.part, setting.size)
    run = build_step(model, cfg.default_scope, modes, setting)
    first = time_once(run, setting.device)
    for _ in range(warmup - 1):
        run()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = saved_activation_bytes(run, weights) if setting.training else None
    return run, {
        'parameters': str(parameters),
        'multiply-adds': str(multiply_adds),
        'first s': f'{first:.3f}',
        'kept MB': in_mb(kept),
        'peak MB': in_mb(peak_memory(run, setting.device)),
    }


def speed_columns(seconds: list[float], batch: int) -> Row:
    first, median, third = quartiles(seconds)
    return {
        'ms': f'{1e3 * median:.2f}',
        'ms 25%': f'{1e3 * first:.2f}',
        'ms 75%': f'{1e3 * third:.2f}',
        'images/s': f'{batch / median:.2f}',
    }


def setting_columns(setting: Setting) -> Row:
    height, width = setting.size
    return {
        'task': setting.task,
        'part': setting.part,
        'pass': 'training' if setting.training else 'inference',
        'batch': str(setting.batch),
        'height': str(height),
        'width': str(width),
    }


def machine_columns(device: str) -> Row:
    """The machine and the software of a measurement on `cpu` or `cuda`."""
    packages, on_cpu = package_versions(), device == 'cpu'
    return {
        'device': cpu_name() if on_cpu else torch.cuda.get_device_name(),
        'capability': cpu_capability() if on_cpu else '',
        'products': product_library() if on_cpu else '',
        'threads': str(torch.get_num_threads()),
        'tf32': str(tf32_is_allowed()),
        **{name: packages.get(name, '') for name in ('torch', 'mmengine', 'mmcv')},
        'commit': short_commit(git_state(CLONE)),
        'date': time.strftime('%Y-%m-%d'),
        'command': shlex.join(sys.argv),
    }


def in_mb(number: int | None) -> str:
    return '' if number is None else f'{number / 1e6:.1f}'


def draw(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table.

    Times are relative to the first row, and from the next reference on to that one.
    """
    lines = []
    for row in rows:
        if row is rows[0] or row['model'].endswith('+reference'):
            base = float(row['ms'])
        lines.append(
            [
                row['model'],
                f'{int(row["parameters"]) / 1e6:.1f}',
                f'{int(row["multiply-adds"]) / 1e9:.2f}',
                f'{row["ms"]} ({row["ms 25%"]} to {row["ms 75%"]})',
                row['images/s'],
                f'{base / float(row["ms"]):.2f}',
                row['kept MB'],
                row['peak MB'],
            ]
        )
    titles = ['model', 'parameters, M', 'multiply-adds, G', 'ms, median (quartiles)']
    titles += [
        'images/s',
        'speed-up',
        'kept for backward, MB',
        'peak without weights, MB',
    ]
    return markdown(titles, lines)
