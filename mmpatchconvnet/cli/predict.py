"""Find classes, objects or label maps in pictures, and write them as files.

mmpatchconvnet predict work_dirs/NAME pictures/ --out found
mmpatchconvnet predict CONFIG CHECKPOINT 'day 1/*.tif' --out found --scale 0 4095

SOURCE is a picture, a folder, a glob in quotes, a text file with one path a line, or a
video. The exit status is 1 if a picture could not be read; the others are done.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmpatchconvnet.cli.arguments import add_deploy
from mmpatchconvnet.cli.errors import exit_on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option('model', help='work dir of a training, or a config file')
    option('checkpoint', nargs='?', help='checkpoint of the config')
    option('source', help='a picture, folder, glob, list file or video')
    option('--out', type=Path, required=True, help='folder for the results')
    option('--overwrite', action='store_true', help='replace earlier results')
    option('--recursive', action='store_true', help='read folders within SOURCE too')
    option('--batch-size', type=int, default=1, help='pictures at a time (%(default)s)')
    option('--device', help='cpu, cuda, ... (default: a GPU if torch finds one)')
    add_deploy(parser)
    option(
        '--min-score',
        type=float,
        default=0.3,
        help="leave out objects with a lower score (%(default)s); the config's own "
        'threshold holds as well',
    )
    option(
        '--scale',
        type=float,
        nargs=2,
        metavar=('MIN', 'MAX'),
        help='stored values that become black and white, for pictures of 16 bits '
        '(default: 0 and 65536) or of real numbers (default: 0 and 1, or 0 and 255)',
    )
    option(
        '--tile',
        type=int,
        metavar='PIXELS',
        help='cut larger pictures into tiles of at most this size',
    )
    option(
        '--overlap',
        type=int,
        metavar='PIXELS',
        help='common pixels of neighbouring tiles (default: 128, or a quarter of a '
        'smaller tile); 0 merges nothing',
    )
    option('--no-pictures', action='store_true', help='write no drawn pictures')


def run(
    source: str,
    out: Path,
    overwrite: bool,
    recursive: bool,
    batch_size: int,
    scale: Sequence[float] | None,
    no_pictures: bool,
    **settings: Any,
) -> None:
    from rich.console import Console

    from mmpatchconvnet.inference.folder import check_is_free, predict_folder
    from mmpatchconvnet.inference.predictor import Predictor

    with exit_on(ValueError, OSError, MemoryError):
        if not overwrite:  # before the model is loaded
            check_is_free(out)
        predictor = Predictor(**settings)
        unread = predict_folder(
            predictor,
            source,
            out,
            Console(highlight=False),
            batch_size=batch_size,
            recursive=recursive,
            scale=(scale[0], scale[1]) if scale else None,
            draw=not no_pictures,
            overwrite=overwrite,
        )
    if unread:
        raise SystemExit(1)
