"""Models side by side: what they cost, a row for each."""

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
from mmpatchconvnet.experiments.benchmark.subjects import make_model, split
from mmpatchconvnet.experiments.benchmark.timing import (
    quartiles,
    take_turns,
    time_once,
)
from mmpatchconvnet.experiments.benchmark.workload import Setting, count, make_pass
from mmpatchconvnet.experiments.rows import Row
from mmpatchconvnet.experiments.tables import markdown
from mmpatchconvnet.models.block.triton import tf32_is_allowed


def measure(
    specs: Sequence[str], setting: Setting, rounds: int, warmup: int, console: Console
) -> list[Row]:
    """Measure models in turns, in one process.

    Args:
        specs: Models and their modes, see `subjects.py`.
        setting: What is run of each, on what, and where.
        rounds: How often each is timed.
        warmup: How often each is run before; the first time may compile.
        console: Where progress is shown.

    Returns:
        A row for each; times are medians and quartiles.

    Raises:
        ValueError: A model or mode that cannot be had.
    """
    asked = {spec: split(spec, setting.task, setting.training) for spec in specs}
    if setting.device == 'cuda' and not torch.cuda.is_available():
        raise ValueError('PyTorch sees no GPU: measure on the cpu.')
    for spec, (_, modes) in asked.items():
        if 'triton' in modes and setting.device == 'cpu':
            raise ValueError(f'{spec}: triton is for a GPU; a CPU has no such kernels.')
    passes, rows = {}, []
    bar = Progress(
        TextColumn('{task.description:28}'),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        ready = bar.add_task('build and warm up', total=len(asked))
        for spec, (cfg, modes) in asked.items():
            passes[spec], costs = prepare(cfg, modes, setting, warmup)
            rows.append({'model': spec, **costs})
            bar.advance(ready)
        timed = bar.add_task('take turns', total=rounds * len(asked))
        seconds = take_turns(passes, rounds, setting.device, lambda: bar.advance(timed))
    circumstances = {
        **described(setting),
        'rounds': str(rounds),
        **machine(setting.device),
    }
    for row in rows:
        row.update(speed(seconds[row['model']], setting.batch), **circumstances)
    return rows


def prepare(
    cfg: Config, modes: list[str], setting: Setting, warmup: int
) -> tuple[Callable[[], None], Row]:
    """What is to be timed, warmed up, and what can be known of it without a clock."""
    model = make_model(cfg, modes)
    parameters, multiply_adds = count(model, setting.part, setting.size)
    run = make_pass(model, cfg.default_scope, modes, setting)
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


def speed(seconds: list[float], batch: int) -> Row:
    first, median, third = quartiles(seconds)
    return {
        'ms': f'{1e3 * median:.2f}',
        'ms 25%': f'{1e3 * first:.2f}',
        'ms 75%': f'{1e3 * third:.2f}',
        'images/s': f'{batch / median:.2f}',
    }


def described(setting: Setting) -> Row:
    height, width = setting.size
    return {
        'task': setting.task,
        'part': setting.part,
        'pass': 'training' if setting.training else 'inference',
        'batch': str(setting.batch),
        'height': str(height),
        'width': str(width),
    }


def machine(device: str) -> Row:
    """The machine and the software that measured on `cpu` or `cuda`."""
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
    """Rows as a Markdown table; times relative to the first as well."""
    base = float(rows[0]['ms'])
    lines = [
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
        for row in rows
    ]
    titles = ['model', 'parameters, M', 'multiply-adds, G', 'ms, median (quartiles)']
    titles += [
        'images/s',
        'speed-up',
        'kept for backward, MB',
        'peak without weights, MB',
    ]
    return markdown(titles, lines)
