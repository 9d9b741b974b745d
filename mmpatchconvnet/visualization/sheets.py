"""Sheets of pictures with their ground truth and predictions.

Detectors and segmentors get one row per picture (input | ground truth | prediction),
classifiers a grid of pictures, each with its prediction marked right or wrong.
torchvision's `make_grid` has no captions and needs pictures of one size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
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
    instance_colors,
    resize_to,
    to_array,
)

__all__ = ['SheetRow', 'draw_samples', 'draw_sheet', 'save_image']

MARGIN, GAP, LINE, CAPTION = 24, 12, 24, 18
PANEL = 400
TILE, TILES_ACROSS = 190, 6
SAMPLE, SAMPLES_ACROSS = 300, 4
RIGHT: Color = (0.08, 0.48, 0.25)
WRONG: Color = (0.76, 0.17, 0.13)
Legend = Sequence[tuple[str, Array | None]]


@dataclass(frozen=True)
class SheetRow:
    """One picture (H, W, 3) uint8 RGB and its data sample."""

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
    style = _style(rows, classes, palette, score_threshold)
    return _draw_columns(rows, style, title)


def draw_samples(
    rows: Sequence[SheetRow],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]] | None = None,
    title: str = '',
) -> Array:
    """Draw pictures with their ground truth as a grid; see `draw_sheet`.

    Returns:
        The sheet, (H, W, 3) uint8 RGB.

    Raises:
        ValueError: No rows; a label without a name.
    """
    if _any_has(rows, ['gt_label']):
        return draw_sheet(rows, classes, palette, title=title)
    if not rows:
        raise ValueError('got no pictures to draw: give draw_samples at least one row')
    rows = [_brighten(row) for row in rows]
    style = _style(rows, classes, palette, score_threshold=0)
    panels = []
    for row in rows:
        panel = draw_panel(row.image, SAMPLE, row.sample, 'gt', style)
        panel = panel or Panel(resize_to(row.image, SAMPLE))
        panel.caption.insert(0, (row.name, GREY))
        panels.append(panel)
    shown = set().union(*(panel.shown for panel in panels))
    across = min(len(panels), SAMPLES_ACROSS)
    page = Page(2 * MARGIN + across * (SAMPLE + GAP) - GAP)
    _add_heading(page, title, _legend(shown, style))
    for start in range(0, len(panels), across):
        _add_row(page, panels[start : start + across], SAMPLE)
    return page.render()


def draw_prediction(
    row: SheetRow,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]] | None = None,
) -> Array:
    """Draw one picture with its prediction, as a page with a legend.

    Its longer side is scaled to 600..1600 pixels, so that names can be read.

    Args:
        row: The picture with its data sample.
        classes: The name of every class.
        palette: RGB 0..255 of every class; None chooses colours.

    Returns:
        The page, (H, W, 3) uint8 RGB.

    Raises:
        ValueError: A label without a name, or a sample without a prediction.
    """
    row = _brighten(row)
    box = min(max(600, *row.image.shape[:2]), 1600)
    style = _style([row], classes, palette, score_threshold=0)
    if 'pred_label' in row.sample:
        panel: Panel | None = _draw_tile(row, classes, box)[0]
    else:
        panel = draw_panel(row.image, box, row.sample, 'pred', style)
    if panel is None:
        raise ValueError('the sample has no prediction: give one of a trained model')
    if row.name:
        panel.caption.append((row.name, GREY))
    width = panel.image.shape[1]
    page = Page(2 * MARGIN + width)
    _add_heading(page, '', _legend(panel.shown, style) if panel.shown else [])
    _add_row(page, [panel], width)
    return page.render()


def _style(
    rows: Sequence[SheetRow],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]] | None,
    score_threshold: float,
) -> Style:
    colors = class_colors(len(classes), palette)
    alone = len(classes) == 1 and _any_has(rows, ['gt_instances', 'pred_instances'])
    return Style(classes, colors, score_threshold, by_instance=alone)


def chosen_palette(metainfo: dict) -> Any:
    """The palette that was chosen for these classes, or None.

    Without one, mmseg draws random colours with this seed, many of them alike, and
    mmdet keeps the palette of its own classes, even for another number of classes.
    """
    palette: Any = metainfo.get('palette')
    count = len(metainfo['classes'])
    random = np.random.RandomState(42).randint(0, 255, (count, 3))
    inherited = palette is not None and len(palette) != count
    return None if inherited or np.array_equal(palette, random) else palette


def class_colors(count: int, palette: Sequence[Sequence[int]] | None) -> Array:
    """The palette as (count, 3) uint8; chosen colours where it has none."""
    if palette is not None and not isinstance(palette, str):
        given = np.array(palette, np.uint8).reshape(-1, 3)[:count]
        return np.concatenate([given, instance_colors(count)[len(given) :]])
    if count > 10:
        return instance_colors(count)
    tableau = matplotlib.colormaps['tab10'](range(count))[:, :3]
    return np.round(255 * tableau).astype(np.uint8)


def _any_has(rows: Sequence[SheetRow], keys: Sequence[str]) -> bool:
    return any(key in row.sample for row in rows for key in keys)


def _brighten(row: SheetRow) -> SheetRow:
    """Brighten a picture that is too dark to see, such as a fluorescence image."""
    brightest = np.percentile(row.image, 99.5)
    if not 0 < brightest < 100:
        return row
    image = cv2.convertScaleAbs(row.image, alpha=220 / brightest)
    return replace(row, image=image, name=f'{row.name} (brightened)'.strip())


def _add_heading(page: Page, title: str, legend: Legend) -> None:
    """The headline and the legend, wrapped."""
    x, y = MARGIN, MARGIN
    if title:
        title = shorten(title, page.width - 2 * MARGIN, 20)
        page.texts.append(Text(x, y + 4, title, 20, bold=True))
        y += LINE + GAP
    for name, color in legend:
        room = 20 * (color is not None)
        advance = room + round(text_width(name, 13)) + 2 * GAP
        if x > MARGIN and x + advance > page.width - MARGIN:
            x, y = MARGIN, y + LINE
        if color is not None:
            page.pictures.append((np.full((14, 14, 3), color, np.uint8), x, y - 7))
        page.texts.append(Text(x + room, y, name))
        x += advance
    page.height = y + (LINE if legend else 0)


def _add_row(page: Page, panels: Sequence[Panel | None], box: int) -> None:
    """Panels next to each other, each at most `box` wide, with captions below them."""
    top = bottom = page.height
    for index, panel in enumerate(panels):
        if panel is None:
            continue
        left, y = MARGIN + index * (box + GAP), top + len(panel.image)
        page.pictures.append((panel.image, left, top))
        page.texts += [
            replace(label, x=left + label.x, y=top + label.y) for label in panel.labels
        ]
        for line, color in panel.caption:
            text = shorten(line, box, 12)
            page.texts.append(Text(left, y + LINE // 2, text, 12, color))
            y += CAPTION
        bottom = max(bottom, y)
    page.height = bottom + LINE


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
    page = Page(width)
    _add_heading(page, title, _legend(shown, style))
    for index, name in enumerate(columns):
        left, y = MARGIN + index * (PANEL + GAP), page.height + LINE / 2
        page.texts.append(Text(left, y, name, 14, bold=True))
    page.height += LINE
    for row in zip(*columns.values(), strict=True):
        _add_row(page, row, PANEL)
    return page.render()


def _draw_input(row: SheetRow) -> Panel:
    return Panel(resize_to(row.image, PANEL), [(row.name, GREY)] if row.name else [])


def _draw_side(rows: Sequence[SheetRow], side: str, style: Style) -> list[Panel | None]:
    return [draw_panel(row.image, PANEL, row.sample, side, style) for row in rows]


def _legend(shown: set[int], style: Style) -> Legend:
    """The legend: (name, colour) of every visible class."""
    if style.by_instance:
        return [(f'{style.classes[0]}: every object in its own colour', None)]
    legend: list[tuple[str, Array | None]] = [
        (style.classes[label], style.colors[label])
        for label in sorted(shown - {IGNORED})
    ]
    return legend + ([('unpainted: not labelled', None)] if IGNORED in shown else [])


# --------------------------------------------------------------------- classifiers


def _draw_grid(rows: Sequence[SheetRow], classes: Sequence[str], title: str) -> Array:
    tiles, verdicts = zip(*(_draw_tile(row, classes) for row in rows), strict=True)
    across = min(len(tiles), TILES_ACROSS)
    page = Page(2 * MARGIN + across * (TILE + GAP) - GAP)
    count = f'{verdicts.count(True)} of these {len(rows)} predictions are right'
    _add_heading(page, title, [] if None in verdicts else [(count, None)])
    for start in range(0, len(tiles), across):
        _add_row(page, tiles[start : start + across], TILE)
    return page.render()


def _draw_tile(
    row: SheetRow, classes: Sequence[str], box: int = TILE
) -> tuple[Panel, bool | None]:
    """A picture with its prediction: green if right, red with the truth if wrong.

    Also return whether it is right, or None if one of the two is unknown.
    """
    image, sample = resize_to(row.image, box), row.sample
    truth, predicted = (
        to_array(sample.get(key)).tolist() if key in sample else []
        for key in ('gt_label', 'pred_label')
    )
    check_labels(np.array(truth + predicted, int), classes)
    # ImageNet's names are lists of synonyms: use the first.
    true_names, names = (
        ', '.join(classes[label].split(',')[0] for label in labels)
        for labels in (truth, predicted)
    )
    if 'pred_score' in sample and len(predicted) == 1:
        names += f' {to_array(sample.pred_score)[predicted[0]]:.2f}'
    if not truth or not predicted:
        return Panel(image, [(names or true_names, INK)]), None
    if set(truth) == set(predicted):
        return Panel(image, [(f'✓ {names}', RIGHT)]), True
    return Panel(image, [(f'✗ {names}', WRONG), (f'is: {true_names}', GREY)]), False
