"""Show where a classifier with attention pooling looks in pictures.

mmpatchconvnet attention work_dirs/NAME pictures/ --out maps
mmpatchconvnet attention CONFIG CHECKPOINT 'day 1/*.tif' --out maps --html

MODEL is the work dir of a training, or a config with its CHECKPOINT. SOURCE is a
picture, a folder, a glob in quotes, a text file with one path a line, or a video. The
exit status is 1 if a picture could not be read; the others are done.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmpatchconvnet.cli.arguments import fault_of_paths
from mmpatchconvnet.cli.errors import exit_on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s MODEL [CHECKPOINT] SOURCE --out DIR [options]'
    option = parser.add_argument
    option('model', metavar='MODEL', help='work dir or config file')
    option(
        'paths',
        nargs='*',
        metavar='CHECKPOINT SOURCE',
        help='checkpoint of a config; picture, folder, glob, list file or video',
    )
    option('--out', type=Path, metavar='DIR', help='folder for the results')
    option(
        '--classes',
        nargs='+',
        metavar='NAME',
        help='of a model with one token per class, the classes whose maps are drawn '
        '(default: those of the three highest scores)',
    )
    option('--html', action='store_true', help='write a page to look at, too')
    option('--overwrite', action='store_true', help='replace earlier results')
    option('--recursive', action='store_true', help='read folders within SOURCE too')
    option('--device', help='cpu, cuda, ... (default: a GPU if there is one)')
    option(
        '--scale',
        type=float,
        nargs=2,
        metavar=('MIN', 'MAX'),
        help='stored values that become black and white, for pictures of 16 bits '
        '(default: 0 and 65536) or of real numbers (default: 0 and 1, or 0 and 255)',
    )
    option(
        '--untrained',
        action='store_true',
        help='put a pooling with random weights behind the backbone of a detector, '
        'segmentor or classifier without one; its maps show nothing about the model',
    )


def run(
    model: str,
    paths: list[str],
    out: Path | None,
    classes: list[str] | None,
    html: bool,
    overwrite: bool,
    recursive: bool,
    device: str | None,
    scale: Sequence[float] | None,
    untrained: bool,
) -> None:
    fault = fault_of_paths(model, paths, out)
    if fault or out is None:
        raise SystemExit(
            f'error: {fault}: give MODEL [CHECKPOINT] SOURCE --out DIR, with a glob in '
            'quotes.'
        )
    checkpoint = paths[0] if len(paths) == 2 else None
    with exit_on(ValueError, OSError, MemoryError):
        from rich.console import Console

        from mmpatchconvnet.attention.folder import map_folder
        from mmpatchconvnet.attention.map import AttentionMap
        from mmpatchconvnet.attention.outputs import OUTPUTS
        from mmpatchconvnet.inference.folder import check_is_free, say

        if not overwrite:  # before the model is loaded
            check_is_free(out, OUTPUTS)
        console = Console(highlight=False)
        maps = AttentionMap(model, checkpoint, device=device, untrained=untrained)
        if maps.checkpoint:
            say(console, f'checkpoint: {maps.checkpoint}')
        unread = map_folder(
            maps,
            paths[-1],
            out,
            console,
            classes=classes,
            recursive=recursive,
            scale=(scale[0], scale[1]) if scale else None,
            html=html,
            overwrite=overwrite,
        )
    if unread:
        raise SystemExit(1)
