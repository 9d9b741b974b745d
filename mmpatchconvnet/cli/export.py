"""Write a trained model as a file to run elsewhere, and compare the two.

mmpatchconvnet export work_dirs/NAME --out model.onnx
mmpatchconvnet export CONFIG CHECKPOINT --out model.onnx --preprocess --fp16
mmpatchconvnet export work_dirs/NAME --format torch --out model.pt2
mmpatchconvnet predict model.onnx pictures/ --out found

The file is run on images of three sizes that the export has not seen, and on the
picture of --picture. If an output differs from the model's, the exit status is 1 and no
file is written; 8 bits are not held to a limit.
"""

import argparse
from pathlib import Path
from typing import Any

from mmpatchconvnet.cli.errors import exit_on

FORMATS = dict(onnx='.onnx', torch='.pt2')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option('model', help='work dir of a training, or a config file')
    option('checkpoint', nargs='?', help='checkpoint of the config')
    option(
        '--format',
        choices=FORMATS,
        default='onnx',
        help='onnx, or torch for code that is compiled for the CPU of this machine by '
        'AOTInductor, which needs a C++ compiler (%(default)s)',
    )
    option(
        '--out', type=Path, required=True, metavar='FILE', help='ends in .onnx or .pt2'
    )
    option('--overwrite', action='store_true', help='replace FILE if it exists')
    option(
        '--features',
        action='store_true',
        help='export only the maps of backbone and necks',
    )
    option(
        '--preprocess',
        action='store_true',
        help='normalize and pad within the file, whose input is then BGR, 0 to 255',
    )
    option('--fp16', action='store_true', help='compute in half precision')
    option(
        '--picture',
        metavar='FILE',
        help='compare the file with the model on this picture as well: one with '
        'objects, for a detector',
    )
    option(
        '--int8',
        metavar='PICTURES',
        help='convert to integers of 8 bits, with ranges of values from 32 pictures '
        'of a folder and the folders within it',
    )


def run(
    model: str,
    checkpoint: str | None,
    format: str,
    out: Path,
    overwrite: bool,
    int8: str | None,
    picture: str | None,
    **settings: Any,
) -> None:
    if out.suffix != FORMATS[format]:
        raise SystemExit(
            f'error: {out} does not end in {FORMATS[format]}, as files of --format '
            f'{format} do: name it so, or give another format.'
        )
    if out.is_dir():
        raise SystemExit(f'error: {out} is a folder: give the name of a file.')
    there = [path for path in (out, Path(f'{out}.data')) if path.exists()]
    if there and not overwrite:
        raise SystemExit(
            f'error: {there[0]} exists: give another name, or --overwrite to replace '
            'it.'
        )
    if int8 and settings['fp16']:
        raise SystemExit('error: --int8 and --fp16 are both given: choose one.')
    if format == 'torch' and (int8 or settings['fp16']):
        raise SystemExit(
            'error: --format torch is given with --int8 or --fp16: leave them out, or '
            'give --format onnx.'
        )
    if int8 and settings['features']:
        raise SystemExit(
            'error: --int8 is given with --features, whose file does not say how '
            'pictures are prepared: leave one out.'
        )
    from rich.console import Console

    from mmpatchconvnet.export.onnx_file import need
    from mmpatchconvnet.export.quantize import readers_of
    from mmpatchconvnet.export.write import write_checked
    from mmpatchconvnet.inference.host_model import HostModel
    from mmpatchconvnet.inference.pictures import read_picture

    console = Console(highlight=False)
    with exit_on(ValueError, OSError, ImportError):
        # Exporting takes minutes, so what can be seen at once comes first.
        if format == 'onnx':
            need('onnx', 'onnxscript', 'onnxruntime')
        else:
            need(torch_release='2.6')
        if int8:
            readers_of(int8)
        if picture:
            settings['picture'] = read_picture(picture)
        out.parent.mkdir(parents=True, exist_ok=True)
        host = HostModel(model, checkpoint, 'cpu', None, min_score=0)
        with console.status('exporting, which takes one to three minutes'):
            rows = write_checked(host, out, format=format, calibration=int8, **settings)
    console.print('Largest difference from the model, relative to its largest value:')
    console.print(table_of(rows))
    if not any(row.found for row in rows):
        where = f'in {picture} and the' if picture else 'in these'
        console.print(
            f'The detector finds nothing {where} random images, so boxes and masks '
            'could not be compared: give --picture FILE with objects that it finds.',
            markup=False,
            soft_wrap=True,
        )
    megabytes = out.stat().st_size / 1e6
    made = f'{out}: {megabytes:.1f} MB, from {host.checkpoint}'
    console.print(made, markup=False, soft_wrap=True)


def table_of(rows: list[Any]) -> Any:
    """The comparison of an export with its model."""
    from rich.table import Table

    table = Table()
    outputs = list(dict.fromkeys(row.output for row in rows))
    detects = 'boxes' in outputs
    for name in ('images', *(['objects'] * detects), *outputs):
        table.add_column(name, justify='right')
    for size in dict.fromkeys(row.size for row in rows):
        of_size = [row for row in rows if row.size == size]
        count = [str(of_size[0].found)] * detects
        # Without objects nothing was compared.
        differences = [f'{row.difference:.1e}' if row.found else '-' for row in of_size]
        table.add_row('{} x {} x {}'.format(*size), *count, *differences)
    return table
