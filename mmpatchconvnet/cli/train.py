"""Train any config of mmpretrain, mmdet or mmseg.

mmpatchconvnet train mmpatchconvnet::demo/NAME.py --data-root PATH
torchrun --nproc_per_node N -m mmpatchconvnet train CONFIG --launcher pytorch
"""

import argparse
import logging
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from mmpatchconvnet.cli.arguments import add_config, whole_number
from mmpatchconvnet.cli.errors import exit_on
from mmpatchconvnet.stop_signals import Stopped, catch_signals, end_workers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    option = parser.add_argument
    option('--seed', type=int, help='random seed; --resume keeps the seed of the run')
    option('--amp', action='store_true', help='train in mixed precision; needs a GPU')
    option(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from this checkpoint (default: the last one in --work-dir)',
    )
    option(
        '--quiet',
        action='store_true',
        help='write the log only to its file; a terminal still shows the progress bar',
    )

    option(
        '--skip-bad-files',
        action='store_true',
        help='go on without pictures and label maps that cannot be read, and list '
        'them at the end and in skipped_files.txt',
    )
    option(
        '--skip-bad-steps',
        type=whole_number,
        default=0,
        metavar='N',
        help='skip up to N steps whose loss or gradient is not finite (default: stop '
        'at the first)',
    )


def run(**settings: Any) -> None:
    try:
        with catch_signals():
            train(**settings)
        return
    except Stopped as error:
        stopped = error.with_traceback(None)  # which would hold the runner
    if str(stopped):  # not from every process
        print(stopped, file=sys.stderr)
    end_workers()
    if stopped.together:
        from mmpatchconvnet.engine.distributed import end_processes

        end_processes()
    raise SystemExit(stopped.status)


def train(
    amp: bool,
    resume: str | None,
    quiet: bool,
    skip_bad_files: bool,
    skip_bad_steps: int,
    **settings: Any,
) -> None:
    from mmpatchconvnet.checkpoints import CheckpointError
    from mmpatchconvnet.config_files import ConfigError
    from mmpatchconvnet.engine import launch
    from mmpatchconvnet.engine.bad_files import BadDataError, tell_skipped
    from mmpatchconvnet.engine.distributed import end_processes
    from mmpatchconvnet.engine.finite_steps import BadStepError
    from mmpatchconvnet.engine.run_faults import RunFault, explain_faults
    from mmpatchconvnet.unknown_arguments import explain_arguments

    stdout = open(os.devnull, 'w') if quiet else sys.stdout  # noqa: SIM115
    with exit_on(ValueError, RunFault), redirect_stdout(stdout):
        cfg = launch.load_config(**settings)
        if amp:
            launch.use_amp(cfg)
        if resume == 'auto':
            cfg.resume = resume
        elif resume is not None:
            cfg.resume, cfg.load_from = True, resume
        runner = launch.build_runner(
            cfg,
            training=True,
            skip_bad_files=skip_bad_files,
            skip_bad_steps=skip_bad_steps,
        )
    if quiet:
        for handler in list(runner.logger.handlers):
            if not isinstance(handler, logging.FileHandler):
                runner.logger.removeHandler(handler)
    try:
        # The first is of the loop or the optimizer, the second of init_cfg.
        with (
            exit_on(ConfigError, CheckpointError, BadDataError, BadStepError, RunFault),
            explain_faults(cfg.work_dir, resumes=True),
            explain_arguments(cfg),
        ):
            runner.train()
    except KeyboardInterrupt:
        if not Path(cfg.work_dir, 'last_checkpoint').is_file():
            raise SystemExit(
                f'stopped before a checkpoint was saved in {cfg.work_dir}.'
            ) from None
        raise SystemExit(
            f'stopped: --resume continues from the last checkpoint in {cfg.work_dir}.'
        ) from None
    finally:
        if skip_bad_files:
            tell_skipped(runner)
    del runner
    end_processes()
