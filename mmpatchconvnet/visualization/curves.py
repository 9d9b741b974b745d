"""Draw the curves of a run from the `scalars.json` that mmengine writes.

mmengine's LocalVisBackend writes one JSON object per line: training lines with losses
and the learning rate, and a line of metrics after every validation. Its `step` counts
epochs or iterations, as the config says; here the x axis is always iterations.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from mmpatchconvnet.visualization.canvas import (
    GREY,
    INK,
    Array,
    Color,
    render,
    save_image,
)

MAX_LINES = 8
NOT_METRICS = ('step', 'iter', 'epoch', 'time', 'data_time', 'memory', 'lr')
# COCO's breakdown by object size: too many lines for one panel.
DETAILS = ('_s', '_m', '_l')
Record = dict[str, Any]


def plot_curves(
    scalars_paths: Sequence[str | os.PathLike],
    out_path: str | os.PathLike,
    title: str = '',
) -> None:
    """Draw the losses of a run, and its validation metrics if there are any.

    Args:
        scalars_paths: `vis_data/scalars.json` of each start of the run, in order. Lines
            truncated by a crash are skipped; if a resumed run repeats steps, the
            later lines are used.
        out_path: The picture to write.
        title: The headline.

    Raises:
        ValueError: The files hold no training and no validation line.
    """
    training, validation = read_scalars(scalars_paths)
    losses = [name for name in _names(training) if 'loss' in name]
    metrics = [name for name in _names(validation) if _is_metric(name)]
    panels = bool(losses) + bool(metrics)
    if not panels:
        raise ValueError(
            f'{", ".join(map(str, scalars_paths))} holds no losses and no metrics: '
            'give plot_curves the vis_data/scalars.json of a run that has logged once'
        )
    figure = Figure(figsize=(7 * panels, 4), dpi=130, layout='constrained')
    axes = iter(figure.subplots(1, panels, squeeze=False)[0])
    if losses:
        _draw_losses(next(axes), losses, training)
    if metrics:
        _draw_metrics(next(axes), metrics, validation)
    if title:
        headline = figure.suptitle(title, x=0.01, horizontalalignment='left')
        headline.set(fontweight='bold', color=INK, parse_math=False)
    save_image(out_path, render(figure))


def read_scalars(
    scalars_paths: Sequence[str | os.PathLike],
) -> tuple[dict[int, Record], dict[int, Record]]:
    """The training and the validation lines of a run, both by iteration."""
    training: dict[int, Record] = {}
    validation: dict[int, Record] = {}
    now = 0
    texts = (Path(path).read_text() for path in scalars_paths)
    for line in (line for text in texts for line in text.splitlines()):
        try:
            record = {_bare(key): value for key, value in json.loads(line).items()}
        except json.JSONDecodeError:
            continue
        if 'lr' in record or 'iter' in record:
            previous, now = now, int(record.get('iter', record['step']))
            if now <= previous:  # resumed from a checkpoint further back
                training = _before(now, training)
                validation = _before(now, validation)
            training[now] = record
        else:
            # A step that counts epochs lags behind the iterations.
            validation[max(now, int(record.get('step', 0)))] = record
    return training, validation


def _bare(key: str) -> str:
    """A key without the stage that `log_with_hierarchy` puts in front."""
    return key.removeprefix('train/').removeprefix('val/')


def _before(step: int, records: dict[int, Record]) -> dict[int, Record]:
    return {earlier: record for earlier, record in records.items() if earlier < step}


def _is_metric(name: str) -> bool:
    return name not in NOT_METRICS and not name.endswith(DETAILS)


def _names(records: dict[int, Record]) -> list[str]:
    """Names of the numbers in the records, the highest last value first."""
    last: Record = {}
    for record in records.values():
        last.update(record)
    names = [name for name, value in last.items() if isinstance(value, int | float)]
    return sorted(names, key=lambda name: -last[name])


def _series(name: str, records: dict[int, Record]) -> tuple[Array, Array]:
    """The steps (N,) at which a value was logged, and the values (N,)."""
    found = {step: record[name] for step, record in records.items() if name in record}
    return np.array(list(found)), np.array(list(found.values()), float)


def _draw_losses(axes: Axes, names: list[str], records: dict[int, Record]) -> None:
    """The total in bold, and its parts if there are several."""
    parts = [name for name in names if name != 'loss']
    if 'loss' in names:
        _draw_smoothed(axes, 'loss', records, INK, width=2.6)
        parts = parts if len(parts) > 1 else []
    for name, color in zip(parts[:MAX_LINES], _colors(), strict=False):
        _draw_smoothed(axes, name, records, color, width=1.2)
    _finish(axes, _headline('training loss', parts))


def _draw_smoothed(
    axes: Axes, name: str, records: dict[int, Record], color: Color, width: float
) -> None:
    """The logged line in pale, the smoothed one, and its last value in the legend."""
    steps, values = _series(name, records)
    smooth = smoothed(values, window=max(1, len(values) // 25))
    label = f'{name}  {smooth[-1]:.3g}'
    axes.plot(steps, values, color=color, alpha=0.25, linewidth=width / 2)
    axes.plot(steps, smooth, color=color, linewidth=width, label=label)


def _draw_metrics(axes: Axes, names: list[str], records: dict[int, Record]) -> None:
    """Lines over the validations, or bars if there was only one."""
    if len(records) == 1:
        return _draw_bars(axes, names, next(iter(records.values())))
    for name, color in zip(names[:MAX_LINES], _colors(), strict=False):
        steps, values = _series(name, records)
        label = f'{name}  {values[-1]:.3g}'
        axes.plot(steps, values, 'o-', color=color, markersize=3.5, label=label)
    _finish(axes, _headline('validation', names))


def _draw_bars(axes: Axes, names: list[str], record: Record) -> None:
    shown = names[MAX_LINES - 1 :: -1]
    bars = axes.barh(shown, [record[name] for name in shown], color='tab:blue')
    axes.bar_label(bars, fmt=' {:.3g}', color=INK)
    axes.set_title(_headline('validation', names), loc='left', color=INK)
    axes.tick_params(colors=INK, length=0)
    axes.set_xticks([])
    # Scores are fractions or percents: the axis ends at 1 or 100.
    longest = max(record[name] for name in shown)
    axes.set_xlim(0, 1.15 * next((top for top in (1, 100) if longest <= top), longest))
    # Bars from the top down, of the same thickness for any number.
    axes.set_ylim(len(shown) - MAX_LINES - 0.5, len(shown) - 0.5)
    axes.spines[['top', 'right', 'bottom']].set_visible(False)
    axes.spines['left'].set_color(GREY)


def _headline(title: str, names: list[str]) -> str:
    left_out = len(names) - MAX_LINES
    return f'{title} (and {left_out} more in the log)' if left_out > 0 else title


def _finish(axes: Axes, title: str) -> None:
    """Add a title, axes that show zero, and a legend next to the plot."""
    axes.set_title(title, loc='left', color=INK)
    axes.set_xlabel('iteration', color=GREY)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=min(0, axes.dataLim.y0))
    axes.tick_params(colors=GREY)
    axes.grid(alpha=0.25)
    axes.spines[['top', 'right']].set_visible(False)
    axes.spines[['left', 'bottom']].set_color(GREY)
    axes.legend(
        frameon=False, fontsize='small', loc='upper left', bbox_to_anchor=(1, 1)
    )


def smoothed(values: Array, window: int) -> Array:
    """The mean (N,) over `window` neighbours; values that are not finite are gaps."""
    known = np.isfinite(values)
    kernel = np.ones(window)
    total = np.convolve(np.where(known, values, 0), kernel, 'same')
    count = np.convolve(known, kernel, 'same')
    return np.where(known, total / np.maximum(count, 1), np.nan)


def _colors() -> list[Color]:
    return list(map(to_rgb, matplotlib.color_sequences['tab10']))
