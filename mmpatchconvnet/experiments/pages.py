"""Update the tables of pages in the repository from metafiles and measured rows."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import yaml
from rich.progress import track

from mmpatchconvnet.engine.provenance import CLONE
from mmpatchconvnet.experiments.benchmark.measure import draw as draw_speed
from mmpatchconvnet.experiments.faithfulness import draw_faithfulness
from mmpatchconvnet.experiments.map_segmentation import draw_segmentation
from mmpatchconvnet.experiments.model_index import (
    draw_models,
    fill_metafile,
    write_metafile,
)
from mmpatchconvnet.experiments.rows import Row, read_rows, select
from mmpatchconvnet.experiments.scores import draw_scores
from mmpatchconvnet.experiments.stock_configs import draw_stock
from mmpatchconvnet.experiments.tables import fill_tables

PAGES = (
    'README.md',
    'docs/attention.md',
    'docs/ops.md',
    'docs/results.md',
    'docs/speed.md',
    'configs/comparison/README.md',
    'configs/ablation/README.md',
)


def fill_pages(only_rows: bool) -> None:
    """Update all tables, or only the tables of measured rows.

    Raises:
        ValueError: This is an installed package, not a clone.
    """
    if not (CLONE / 'model-index.yml').is_file():
        raise ValueError(f'{CLONE} has no model-index.yml: run this in a clone.')
    if not only_rows:
        index = yaml.safe_load((CLONE / 'model-index.yml').read_text())
        for name in track(index['Import'], 'metafiles'):
            fill_models(CLONE / name)
    for name in PAGES:
        page = CLONE / name
        page.write_text(fill_rows(page.read_text()))


def fill_rows(page: str) -> str:
    """A page with new tables of scores, of speed, of maps and of mmcv's ops."""
    for kind, file in (('scores', 'comparison'), ('folds', 'folds')):
        scores = read_rows(CLONE / f'benchmarks/{file}.csv')
        page = fill_tables(page, kind, partial(draw_scores, scores))
    stock = read_rows(CLONE / 'benchmarks/stock_configs.csv')
    page = fill_tables(page, 'stock configs', lambda what: draw_stock(stock, what))
    for kind, draw in (
        ('speed', draw_speed),
        ('faithfulness', draw_faithfulness),
        ('map segmentation', draw_segmentation),
    ):
        rows = read_rows(CLONE / f'benchmarks/{kind.replace(" ", "_")}.csv')
        page = fill_selected(page, kind, rows, draw)
    return page


def fill_selected(
    page: str, kind: str, rows: Sequence[Row], draw: Callable[..., str]
) -> str:
    """A page with new tables of one kind, whose patterns are `COLUMN=VALUE ...`."""
    return fill_tables(page, kind, lambda wanted: draw(select(rows, wanted.split())))


def fill_models(path: Path) -> None:
    """Update a metafile and the README next to it."""
    metafile = fill_metafile(yaml.safe_load(path.read_text()), CLONE)
    write_metafile(path, metafile)
    page, models = path.with_name('README.md'), metafile['Models']
    page.write_text(
        fill_tables(page.read_text(), 'models', lambda p: draw_models(models, p))
    )
