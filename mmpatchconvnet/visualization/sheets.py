"""Sheets of held-out pictures: what went in, what is true, what the model says.

Detectors and segmentors get one row a picture (input | ground truth | prediction),
classifiers a grid of pictures, each with its answer marked right or wrong. A sheet is a
stack of strips of one width: the heading, then the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import matplotlib
import numpy as np
from mmengine.structures import BaseDataElement

from mmpatchconvnet.visualization.canvas import (
    GREY,
    INK,
    Array,
    Color,
    Page,
    Text,
    save_image,
    shorten,
    text_width,
)
from mmpatchconvnet.visualization.panels import (
    IGNORED,
    Panel,
    Style,
    check_labels,
    draw_panel,
    fit,
    instance_colors,
    to_array,
)

__all__ = ['SheetRow', 'draw_sheet', 'save_image']

MARGIN, GAP, LINE, CAPTION = 24, 12, 24, 18
PANEL = 400
TILE, TILES_ACROSS = 190, 6
RIGHT: Color = (0.08, 0.48, 0.25)
WRONG: Color = (0.76, 0.17, 0.13)
Legend = Sequence[tuple[str, Array | None]]


@dataclass(frozen=True)
class SheetRow:
    """One picture (H, W, 3) uint8 RGB and the data sample that speaks of it."""

    image: Array
    sample: BaseDataElement
    name: str = ''


def draw_sheet(
    rows: Sequence[SheetRow],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]] | None = None,
    score_threshold: float = 0.5,
    title: str = '',
) -> Array:
    """Draw pictures with their ground truth and predictions as one sheet.

    Args:
        rows: The pictures with their data samples, all of the same task.
        classes: The name of every class.
        palette: RGB 0..255 of every class; None chooses colours.
        score_threshold: Objects with a lower score are left out.
        title: The headline.

    Returns:
        The sheet, (H, W, 3) uint8 RGB.

    Raises:
        ValueError: No rows; a label without a name.
    """
    if not rows:
        raise ValueError('got no pictures to draw: give draw_sheet at least one row')
    rows = [_brighten(row) for row in rows]
    if _any_has(rows, ['gt_label', 'pred_label']):
        return _draw_grid(rows, classes, title)
    colors = class_colors(len(classes), palette)
    alone = len(classes) == 1 and _any_has(rows, ['gt_instances', 'pred_instances'])
    style = Style(classes, colors, score_threshold, by_instance=alone)
    return _draw_columns(rows, style, title)


def class_colors(count: int, palette: Sequence[Sequence[int]] | None) -> Array:
    """The palette as (count, 3) uint8, or one of our own where none is given."""
    if palette is not None and not isinstance(palette, str) and len(palette) >= count:
        return np.array(palette[:count], np.uint8)
    if count > 10:
        return instance_colors(count)
    tableau = matplotlib.colormaps['tab10'](range(count))[:, :3]
    return np.round(255 * tableau).astype(np.uint8)


def _any_has(rows: Sequence[SheetRow], keys: Sequence[str]) -> bool:
    return any(key in row.sample for row in rows for key in keys)


def _brighten(row: SheetRow) -> SheetRow:
    """Lighten a picture too dark to see anything in, such as one of fluorescence."""
    brightest = np.percentile(row.image, 99.5)
    if not 0 < brightest < 100:
        return row
    image = np.clip(row.image * (220 / brightest), 0, 255).astype(np.uint8)
    return replace(row, image=image, name=f'{row.name} (brightened)'.strip())


def _draw_heading(title: str, legend: Legend, width: int) -> Array:
    """The headline and the legend, wrapped, as a strip (h, width, 3)."""
    texts, swatches = [], []
    x, y = MARGIN, MARGIN
    if title:
        title = shorten(title, width - 2 * MARGIN, 20)
        texts.append(Text(x, y + 4, title, 20, bold=True))
        y += LINE + GAP
    for name, color in legend:
        room = 20 * (color is not None)
        advance = room + round(text_width(name, 13)) + 2 * GAP
        if x > MARGIN and x + advance > width - MARGIN:
            x, y = MARGIN, y + LINE
        if color is not None:
            swatches.append((np.full((14, 14, 3), color, np.uint8), x, y - 7))
        texts.append(Text(x + room, y, name))
        x += advance
    page = Page(width, y + (LINE if legend else 0), texts)
    for swatch in swatches:
        page.paste(*swatch)
    return page.render()


# --------------------------------------------------------- detectors and segmentors


def _draw_columns(rows: Sequence[SheetRow], style: Style, title: str) -> Array:
    threshold = f'prediction (score {style.score_threshold:g} and above)'
    scored = _any_has(rows, ['pred_instances'])
    sides: dict[str, list[Panel | None]] = {
        'input': [_draw_input(row) for row in rows],
        'ground truth': _draw_side(rows, 'gt', style),
        threshold if scored else 'prediction': _draw_side(rows, 'pred', style),
    }
    columns = {name: panels for name, panels in sides.items() if any(panels)}
    width = 2 * MARGIN + len(columns) * (PANEL + GAP) - GAP
    panels = [panel for column in columns.values() for panel in column if panel]
    shown = set().union(*(panel.shown for panel in panels))
    names = [
        Text(MARGIN + index * (PANEL + GAP), LINE / 2, name, 14, bold=True)
        for index, name in enumerate(columns)
    ]
    strips = [
        _draw_heading(title, _legend(shown, style), width),
        Page(width, LINE, names).render(),
    ]
    for row in zip(*columns.values(), strict=True):
        strips.append(_draw_strip(row, PANEL, width))
    return np.vstack(strips)


def _draw_input(row: SheetRow) -> Panel:
    return Panel(fit(row.image, PANEL), [(row.name, GREY)] if row.name else [])


def _draw_side(rows: Sequence[SheetRow], side: str, style: Style) -> list[Panel | None]:
    return [draw_panel(row.image, PANEL, row.sample, side, style) for row in rows]


def _legend(shown: set[int], style: Style) -> Legend:
    """What the colours mean: (name, colour) of every class that is to be seen."""
    if style.by_instance:
        return [(f'{style.classes[0]}: every object in a colour of its own', None)]
    legend: list[tuple[str, Array | None]] = [
        (style.classes[label], style.colors[label])
        for label in sorted(shown - {IGNORED})
    ]
    return legend + ([('unpainted: not labelled', None)] if IGNORED in shown else [])


def _draw_strip(panels: Sequence[Panel | None], box: int, width: int) -> Array:
    """Panels side by side with their captions beneath, as a strip (h, width, 3)."""
    height = max(
        panel.image.shape[0] + CAPTION * len(panel.caption) for panel in panels if panel
    )
    page = Page(width, height + LINE)
    for index, panel in enumerate(panels):
        if panel is None:
            continue
        left, y = MARGIN + index * (box + GAP), panel.image.shape[0] + LINE // 2
        page.paste(panel.image, left, 0)
        page.texts += [replace(label, x=left + label.x) for label in panel.labels]
        for line, color in panel.caption:
            page.texts.append(Text(left, y, shorten(line, box, 12), 12, color))
            y += CAPTION
    return page.render()


# --------------------------------------------------------------------- classifiers


def _draw_grid(rows: Sequence[SheetRow], classes: Sequence[str], title: str) -> Array:
    tiles = [_draw_tile(row, classes) for row in rows]
    verdicts = [_is_right(row.sample) for row in rows]
    across = min(len(tiles), TILES_ACROSS)
    width = 2 * MARGIN + across * (TILE + GAP) - GAP
    count = f'{verdicts.count(True)} of these {len(rows)} answers are right'
    legend: Legend = [] if None in verdicts else [(count, None)]
    strips = [_draw_heading(title, legend, width)]
    for start in range(0, len(tiles), across):
        strips.append(_draw_strip(tiles[start : start + across], TILE, width))
    return np.vstack(strips)


def _draw_tile(row: SheetRow, classes: Sequence[str]) -> Panel:
    """A picture with its answer beneath, green if right, else red with the truth."""
    truth, answer = (_names(row.sample, side, classes) for side in ('gt', 'pred'))
    score = _score(row.sample)
    panel = Panel(fit(row.image, TILE))
    if _is_right(row.sample) is None:
        panel.caption = [(answer + score or truth, INK)]
    elif _is_right(row.sample):
        panel.caption = [(f'✓ {answer}{score}', RIGHT)]
    else:
        panel.caption = [(f'✗ {answer}{score}', WRONG), (f'is: {truth}', GREY)]
    return panel


def _labels(sample: BaseDataElement, side: str) -> list[int]:
    """The class labels of one side, none where it is absent."""
    key = f'{side}_label'
    return to_array(sample.get(key)).tolist() if key in sample else []


def _names(sample: BaseDataElement, side: str, classes: Sequence[str]) -> str:
    labels = _labels(sample, side)
    check_labels(np.array(labels, int), classes)
    # ImageNet's names are lists of synonyms: the first will do.
    return ', '.join(classes[label].split(',')[0] for label in labels)


def _score(sample: BaseDataElement) -> str:
    """The score of a single answer, none of several."""
    answer = _labels(sample, 'pred')
    if 'pred_score' not in sample or len(answer) != 1:
        return ''
    return f' {to_array(sample.pred_score)[answer[0]]:.2f}'


def _is_right(sample: BaseDataElement) -> bool | None:
    """Whether the answer is the truth; None where one of them is not known."""
    truth, answer = _labels(sample, 'gt'), _labels(sample, 'pred')
    return set(truth) == set(answer) if truth and answer else None
