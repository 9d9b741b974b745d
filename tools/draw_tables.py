"""Draw the tables of the READMEs again, and count what the metafiles say of the models.

python tools/draw_tables.py           # after adding or changing a config
python tools/draw_tables.py --rows    # after new rows of compare.py or benchmark.py
"""

import argparse
from pathlib import Path

import yaml
from rich.progress import track

from mmpatchconvnet.experiments.benchmark.measure import draw as draw_speed
from mmpatchconvnet.experiments.comparison import draw_scores
from mmpatchconvnet.experiments.model_index import (
    draw_models,
    fill_metafile,
    write_metafile,
)
from mmpatchconvnet.experiments.rows import read_rows, select
from mmpatchconvnet.experiments.tables import fill_tables

ROOT = Path(__file__).parent.parent
ROWS = ('comparison', 'speed')  # files below benchmarks/
PAGES = (
    'docs/results.md',
    'docs/speed.md',
    'configs/comparison/README.md',
    'configs/ablation/README.md',
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--rows', action='store_true', help='leave the models alone')
    if not parser.parse_args().rows:
        index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
        for name in track(index['Import'], 'metafiles'):
            fill_models(ROOT / name)
    for name in PAGES:
        page = ROOT / name
        page.write_text(fill_rows(page.read_text()))


def fill_rows(page: str) -> str:
    """A page with its tables of scores and of speed."""
    scores, speed = (read_rows(ROOT / f'benchmarks/{n}.csv') for n in ROWS)
    page = fill_tables(page, 'scores', lambda pattern: draw_scores(scores, pattern))
    return fill_tables(
        page, 'speed', lambda wanted: draw_speed(select(speed, wanted.split()))
    )


def fill_models(path: Path) -> None:
    """A metafile and the README beside it."""
    metafile = fill_metafile(yaml.safe_load(path.read_text()), ROOT)
    write_metafile(path, metafile)
    page, models = path.with_name('README.md'), metafile['Models']
    page.write_text(
        fill_tables(page.read_text(), 'models', lambda p: draw_models(models, p))
    )


if __name__ == '__main__':
    main()
