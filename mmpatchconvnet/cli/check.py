"""Read all data of a config and report what is wrong with them.

mmpatchconvnet check CONFIG --data-root PATH
mmpatchconvnet check CONFIG --data-root PATH --out samples.png

Every file is decoded. A sheet of twelve random samples shows the labels as the training
pipeline passes them on. The exit status is 1 if something makes training wrong.
"""

import argparse
from pathlib import Path
from typing import Any

from mmpatchconvnet.cli.arguments import add_config
from mmpatchconvnet.cli.errors import exit_on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument(
        '--out',
        type=Path,
        metavar='FILE',
        help='where to draw the samples (default: samples.png in the work dir)',
    )


def run(out: Path | None, **settings: Any) -> None:
    from rich.console import Console

    from mmpatchconvnet.data_checks.report import print_report, progress
    from mmpatchconvnet.data_checks.samples import draw_sample_sheet
    from mmpatchconvnet.data_checks.whole import check_everything, loaders_of
    from mmpatchconvnet.engine.config_checks import check_settings
    from mmpatchconvnet.engine.launch import load_config

    console = Console(highlight=False)
    with exit_on(ValueError):
        cfg = load_config(**settings)
        check_settings(cfg, loaders_of(cfg))
        checked, together = check_everything(
            cfg, lambda source: progress(source.name, console)
        )
        errors = print_report(checked, together, console)
    out = out or Path(cfg.work_dir, 'samples.png')
    with exit_on(ValueError, OSError):
        told = draw_sample_sheet(cfg, out)
    console.print(f'\n{told}', markup=False, soft_wrap=True)
    if errors:
        raise SystemExit(1)
