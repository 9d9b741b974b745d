"""Plots of insertion and deletion curves, by which maps of a classifier are judged.

Rows are from `tools/faithfulness.py`; their numbers are strings.
"""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmpatchconvnet.visualization.canvas import GREY, INK, render, save_image
from mmpatchconvnet.visualization.tradeoffs import style_axes

Array = np.ndarray
Row = Mapping[str, str]
STYLES = {
    'attention': ('tab:red', '-'),
    'Grad-CAM': ('tab:blue', '-'),
    'Grad-CAM++': ('tab:cyan', '--'),
    'random': ('tab:gray', ':'),
}
# Column of a curve -> title, label of its x axis.
CURVES = {
    'insertion': ('insertion: higher is better', 'pixels shown, %'),
    'deletion': ('deletion: lower is better', 'pixels removed, %'),
}


def plot_faithfulness(rows: Sequence[Row], out_path: str | os.PathLike) -> None:
    """Plot the curves of all maps, a column of panels for each pooling.

    A line is the mean over the seeds, and the band around it goes from the lowest to
    the highest seed.

    Args:
        rows: Rows of one data set.
        out_path: The picture to write.

    Raises:
        ValueError: The rows are of several data sets.
    """
    data = sorted({row['data'] for row in rows})
    if len(data) != 1:
        raise ValueError(
            f'the rows are of the data sets {", ".join(data)}: choose one of them, '
            f'such as --where data={data[0]}.'
        )
    poolings = list(dict.fromkeys(row['pooling'] for row in rows))
    figure = Figure(figsize=(3.9 * len(poolings), 6.2), dpi=110, layout='constrained')
    panels = figure.subplots(2, len(poolings), sharey=True, squeeze=False)
    for column, pooling in enumerate(poolings):
        mine = [row for row in rows if row['pooling'] == pooling]
        for line, (name, (title, x_label)) in enumerate(CURVES.items()):
            axes = panels[line, column]
            draw_curves(axes, mine, f'{name} curve')
            style_axes(axes, x_label, 'score of the class, %' if not column else '')
            axes.set_ylim(0, 100)
            heading = f'pooling: {pooling}\n{title}' if not line else title
            axes.set_title(heading, fontsize=11, color=INK)
    lines = {x.get_label(): x for axes in panels.flat for x in axes.get_lines()}
    figure.legend(
        [lines[name] for name in STYLES if name in lines],
        [name for name in STYLES if name in lines],
        loc='outside lower center',
        ncols=len(STYLES),
        frameon=False,
        labelcolor=INK,
    )
    figure.suptitle(
        f'{data[0]}: pixels are shown, or removed, where the map is largest first',
        color=GREY,
        fontsize=11,
    )
    save_image(out_path, render(figure))


def draw_curves(axes: Axes, rows: Sequence[Row], column: str) -> None:
    """A line for each map, with a band over its seeds."""
    for name, (color, style) in STYLES.items():
        curves = np.array(
            [row[column].split() for row in rows if row['map'] == name], float
        )
        if not len(curves):
            continue
        share = np.linspace(0, 100, curves.shape[1])
        axes.plot(share, curves.mean(0), style, color=color, label=name, linewidth=2)
        axes.fill_between(
            share, curves.min(0), curves.max(0), color=color, alpha=0.15, linewidth=0
        )
