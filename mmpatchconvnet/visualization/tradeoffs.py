"""Plots of measured costs: accuracy against cost, and cost against the size of images.

Rows are from `mmpatchconvnet benchmark`; their numbers are strings, '' if unknown.
"""

import os
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from mmpatchconvnet.visualization.canvas import GREY, INK, render, save_image

Row = Mapping[str, str]
# Column of a cost in the rows -> its name on an axis.
COSTS = {'ms': 'milliseconds', 'peak MB': 'peak MB, without weights'}


def plot_accuracy(
    rows: Sequence[Row], accuracy: Mapping[str, float], out_path: str | os.PathLike
) -> None:
    """Plot published accuracy against every measured cost, a panel each.

    Modes of one model, such as `s60` and `s60+deploy`, are joined by a line.

    Args:
        rows: Rows of one run; models without a published accuracy are skipped.
        accuracy: Top-1 in percent by name of the model.
        out_path: The picture to write.

    Raises:
        ValueError: No model has a published accuracy, or rows are of several runs.
    """
    known = [row for row in rows if base_of(row) in accuracy]
    if not known:
        raise ValueError(
            f'none of {", ".join(row["model"] for row in rows)} has a published '
            f'accuracy: measure some of {", ".join(accuracy)}.'
        )
    settings = ('task', 'part', 'pass', 'batch', 'height', 'width')
    differ = [name for name in settings if len({row[name] for row in known}) > 1]
    if differ:
        raise ValueError(
            f'the rows differ in {", ".join(differ)}: choose those of one run.'
        )
    costs = {cost: name for cost, name in COSTS.items() if any(r[cost] for r in known)}
    figure = Figure(figsize=(6 * len(costs), 4), dpi=130, layout='constrained')
    panels = figure.subplots(1, len(costs), squeeze=False)[0]
    colors = colors_of(known)
    for axes, (cost, name) in zip(panels, costs.items(), strict=True):
        for base, color in colors.items():
            mine = [row for row in known if base_of(row) == base and row[cost]]
            values = [float(row[cost]) for row in mine]
            heights = [accuracy[base]] * len(mine)
            axes.plot(values, heights, 'o-', color=color, markersize=7, linewidth=1)
            for row, x in zip(mine, values, strict=True):
                axes.annotate(
                    row['model'], (x, accuracy[base]), xytext=(3, 6), rotation=35,
                    textcoords='offset points', fontsize=8, color=INK,
                )  # fmt: skip
        style_axes(axes, name, 'published top-1, %')
        axes.margins(x=0.2, y=0.3)
        axes.set_xlim(left=0)
    add_title(figure, rows[0])
    save_image(out_path, render(figure))


def plot_resolution(rows: Sequence[Row], out_path: str | os.PathLike) -> None:
    """Plot every measured cost against the number of pixels, a line per model.

    Args:
        rows: Rows of several runs with images of different sizes.
        out_path: The picture to write.

    Raises:
        ValueError: All images have the same size.
    """
    sizes = {pixels_of(row): f'{row["height"]} x {row["width"]}' for row in rows}
    if len(sizes) < 2:
        raise ValueError(
            'all rows are of images of one size: measure several with --size.'
        )
    costs = {cost: name for cost, name in COSTS.items() if any(r[cost] for r in rows)}
    figure = Figure(figsize=(6 * len(costs), 4), dpi=130, layout='constrained')
    panels = figure.subplots(1, len(costs), squeeze=False)[0]
    colors, styles = colors_of(rows), styles_of(rows)
    for axes, (cost, name) in zip(panels, costs.items(), strict=True):
        for model, style in styles.items():
            mine = sorted(
                (pixels_of(row), float(row[cost]) / int(row['batch']))
                for row in rows
                if row['model'] == model and row[cost]
            )
            axes.plot(*zip(*mine, strict=True), style, label=model, markersize=4,
                      color=colors[model.split('+')[0]])  # fmt: skip
        axes.set_xscale('log')
        axes.set_yscale('log')
        style_axes(axes, 'height x width of an image, pixels', f'{name}, each image')
        axes.set_xticks(list(sizes), list(sizes.values()))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter('{x:g}')
    panels[-1].legend(frameon=False, loc='upper left', bbox_to_anchor=(1, 1))
    add_title(figure, rows[0])
    save_image(out_path, render(figure))


def base_of(row: Row) -> str:
    """The name of a model without its modes."""
    return row['model'].split('+')[0]


def pixels_of(row: Row) -> int:
    return int(row['height']) * int(row['width'])


def colors_of(rows: Sequence[Row]) -> dict[str, str]:
    """A colour for each model, the same for all of its modes."""
    bases = dict.fromkeys(map(base_of, rows))
    palette = map(to_hex, matplotlib.color_sequences['tab10'])
    return dict(zip(bases, palette, strict=False))


def styles_of(rows: Sequence[Row]) -> dict[str, str]:
    """A line style for each spec; modes of one model differ."""
    styles: dict[str, str] = {}
    for row in rows:
        same = [model for model in styles if base_of({'model': model}) == base_of(row)]
        styles.setdefault(row['model'], ('o-', 's--', '^:', 'd-.')[len(same) % 4])
    return styles


def style_axes(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    axes.tick_params(colors=GREY)
    axes.grid(alpha=0.25)
    axes.spines[['top', 'right']].set_visible(False)
    axes.spines[['left', 'bottom']].set_color(GREY)


def add_title(figure: Figure, row: Row) -> None:
    """Say what was measured, and on which machine."""
    text = f'{row["pass"]} of the {row["part"]}, {row["task"]}, batch {row["batch"]}'
    place = f'{row["device"]}, {row["threads"]} threads, torch {row["torch"]}'
    figure.suptitle(
        f'{text}; {place}', x=0.01, horizontalalignment='left', color=INK, fontsize=10
    )
