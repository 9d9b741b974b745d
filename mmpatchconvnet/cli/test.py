"""Evaluate a checkpoint with any config of mmpretrain, mmdet or mmseg.

mmpatchconvnet test CONFIG work_dirs/NAME/iter_400.pth --data-root PATH
"""

import argparse
from pathlib import Path
from typing import Any

from mmpatchconvnet.cli.arguments import add_config, add_deploy
from mmpatchconvnet.cli.errors import exit_on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument('checkpoint', help='a checkpoint file of a training run')
    add_deploy(parser)


def run(checkpoint: str, deploy: str | None, **settings: Any) -> None:
    if '://' not in checkpoint and not Path(checkpoint).is_file():
        raise SystemExit(f'error: {checkpoint} is not a file: give a checkpoint.')
    import torch

    from mmpatchconvnet.checkpoints import load_weights
    from mmpatchconvnet.config_files import ConfigError
    from mmpatchconvnet.deploy import switch_to_deploy
    from mmpatchconvnet.engine.bad_files import BadDataError
    from mmpatchconvnet.engine.distributed import end_processes
    from mmpatchconvnet.engine.launch import build_runner, load_config
    from mmpatchconvnet.engine.run_faults import RunFault, explain_faults
    from mmpatchconvnet.unknown_arguments import explain_arguments

    with exit_on(ValueError, RunFault):
        cfg = load_config(**settings)
        runner = build_runner(cfg, training=False)
        model = getattr(runner.model, 'module', runner.model)
        load_weights(model, checkpoint)
        if deploy:
            switch_to_deploy(model, getattr(torch, deploy))
    with (
        exit_on(ConfigError, BadDataError, RunFault),
        explain_faults(runner.work_dir),
        explain_arguments(cfg),
    ):
        runner.test()
    del runner, model
    end_processes()
