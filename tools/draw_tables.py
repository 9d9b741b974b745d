"""Draw the tables of the READMEs again, and count what the metafiles say of the models.

python tools/draw_tables.py           # after adding or changing a config
python tools/draw_tables.py --scores  # after new rows of tools/compare.py
"""

import argparse
from pathlib import Path

import yaml
from rich.progress import track

from mmpatchconvnet.comparison import draw_scores, read_rows
from mmpatchconvnet.model_index import draw_models, fill_metafile, write_metafile
from mmpatchconvnet.tables import fill_tables

ROOT = Path(__file__).parent.parent
ROWS = ROOT / 'benchmarks/comparison.csv'
PAGES = ('README.md', 'configs/comparison/README.md', 'configs/ablation/README.md')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--scores', action='store_true', help='leave the models alone')
    if not parser.parse_args().scores:
        index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
        for name in track(index['Import'], 'metafiles'):
            fill_models(ROOT / name)
    rows = read_rows(ROWS)
    for name in PAGES:
        page = ROOT / name
        filled = fill_tables(page.read_text(), 'scores', lambda p: draw_scores(rows, p))
        page.write_text(filled)


def fill_models(path: Path) -> None:
    """A metafile and the README beside it."""
    metafile = fill_metafile(yaml.safe_load(path.read_text()), ROOT)
    write_metafile(path, metafile)
    page, models = path.with_name('README.md'), metafile['Models']
    page.write_text(
        fill_tables(page.read_text(), 'models', lambda p: draw_models(models, p, ROOT))
    )


if __name__ == '__main__':
    main()
