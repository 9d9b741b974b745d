"""Find classes, objects or label maps in pictures, and write them as files.

mmpatchconvnet predict work_dirs/NAME pictures/ --out found
mmpatchconvnet predict CONFIG CHECKPOINT 'day 1/*.tif' --out found --scale 0 4095
mmpatchconvnet predict work_dirs/NAME --serve

MODEL is the work dir of a training, a config with its CHECKPOINT, or a file that
`mmpatchconvnet export` wrote. SOURCE is a picture, a folder, a glob in quotes, a text
file with one path a line, or a video. The exit status is 1 if a picture could not be
read; the others are done.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmpatchconvnet.cli.arguments import add_deploy, fault_of_paths
from mmpatchconvnet.cli.errors import exit_on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        '%(prog)s MODEL [CHECKPOINT] SOURCE --out DIR [options]\n'
        '       %(prog)s MODEL [CHECKPOINT] --serve [PORT] [options]'
    )
    option = parser.add_argument
    option('model', metavar='MODEL', help='work dir, config file or exported file')
    option(
        'paths',
        nargs='*',
        metavar='CHECKPOINT SOURCE',
        help='checkpoint of a config; picture, folder, glob, list file or video',
    )
    option('--out', type=Path, metavar='DIR', help='folder for the results')
    option(
        '--serve',
        type=int,
        nargs='?',
        const=8008,
        metavar='PORT',
        help='open a page on this computer instead, to drop pictures on (8008; 0 for '
        'any free port)',
    )
    option('--overwrite', action='store_true', help='replace earlier results')
    option('--recursive', action='store_true', help='read folders within SOURCE too')
    option('--batch-size', type=int, default=1, help='pictures at a time (%(default)s)')
    option('--device', help='cpu, cuda, ... (default: a GPU if there is one)')
    add_deploy(parser)
    option(
        '--min-score',
        type=float,
        help='leave out objects with a lower score (0.3; with --serve 0.05); the '
        "config's own threshold holds as well",
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
    model: str,
    paths: list[str],
    out: Path | None,
    serve: int | None,
    overwrite: bool,
    recursive: bool,
    batch_size: int,
    scale: Sequence[float] | None,
    min_score: float | None,
    no_pictures: bool,
    **settings: Any,
) -> None:
    most = 2 if serve is None else 1
    if serve is None:
        fault = fault_of_paths(model, paths, out)
    elif len(paths) > most:
        fault = f'{len(paths)} paths after the model are given'
    else:
        fault = '--out and --serve are given' if out else ''
    if fault:
        raise SystemExit(
            f'error: {fault}: give MODEL [CHECKPOINT] SOURCE --out DIR, with a glob in '
            'quotes, or MODEL [CHECKPOINT] --serve without a source.'
        )
    if serve is not None and not 0 <= serve < 2**16:
        raise SystemExit(f'error: port {serve} does not exist: give 0 to 65535.')
    checkpoint = paths[0] if len(paths) == most else None
    if min_score is None:
        min_score = 0.3 if serve is None else 0.05
    limits = (scale[0], scale[1]) if scale else None
    with exit_on(ValueError, OSError, MemoryError):
        from rich.console import Console

        from mmpatchconvnet.inference.predictor import Predictor

        console = Console(highlight=False)
        if out is None:
            predictor = Predictor(model, checkpoint, min_score=min_score, **settings)
            serve_page(predictor, serve or 0, limits, console)
            return
        from mmpatchconvnet.inference.folder import check_is_free, predict_folder, say

        if not overwrite:  # before the model is loaded
            check_is_free(out)
        predictor = Predictor(model, checkpoint, min_score=min_score, **settings)
        if chosen := getattr(predictor.model, 'checkpoint', None):
            say(console, f'checkpoint: {chosen}')
        unread = predict_folder(
            predictor,
            paths[-1],
            out,
            console,
            batch_size=batch_size,
            recursive=recursive,
            scale=limits,
            draw=not no_pictures,
            overwrite=overwrite,
        )
    if unread:
        raise SystemExit(1)


def serve_page(
    predictor: Any, port: int, scale: tuple[float, float] | None, console: Any
) -> None:
    """Serve the page until Ctrl-C."""
    from mmpatchconvnet.inference.serve import Server

    try:
        server = Server(predictor, port, scale)
    except OSError as error:
        raise ValueError(
            f'port {port} cannot be used ({error.strerror}): give another one, or 0 '
            'for any that is free.'
        ) from None
    with server:
        console.print(f'Open {server.url} in a browser of this computer.')
        console.print('Ctrl-C stops it.')
        server.serve_forever()
