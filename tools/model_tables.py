"""Compute parameters and multiply-adds of every config and draw the tables again.

python tools/model_tables.py        # after adding or changing a config
"""

import argparse
from pathlib import Path

import yaml
from rich.progress import track

from mmpatchconvnet.model_index import fill_metafile, fill_tables, write_metafile


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--root', type=Path, default='.', help='the clone')
    root = parser.parse_args().root
    index = yaml.safe_load((root / 'model-index.yml').read_text())
    for name in track(index['Import'], 'metafiles'):
        path = root / name
        metafile = fill_metafile(yaml.safe_load(path.read_text()), root)
        write_metafile(path, metafile)
        readme = path.with_name('README.md')
        readme.write_text(fill_tables(readme.read_text(), metafile, root))


if __name__ == '__main__':
    main()
