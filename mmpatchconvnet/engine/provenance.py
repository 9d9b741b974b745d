"""Record how a run was made: command, commit, machine and software."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import master_only
from mmengine.runner import FlexibleRunner, Runner
from mmengine.utils.dl_utils import collect_env

from mmpatchconvnet.atomic_files import atomic_write
from mmpatchconvnet.compat.doctor import check_ops
from mmpatchconvnet.compat.hosts import package_versions
from mmpatchconvnet.compat.processor import cpu_capability, cpu_name, product_library

CLONE = Path(__file__).parents[2]
# Folders on which a result depends; measured rows and pages are not among them.
SOURCES = ('mmpatchconvnet', 'configs', 'tools')


class EvaluationRunner(Runner):
    """mmengine's Runner, but it writes its config to the log directory.

    In the work directory it would overwrite the config of the training.
    """

    @master_only
    def dump_config(self) -> None:
        name = Path(self.cfg.filename or 'config.py').name
        self.cfg.dump(str(Path(self.log_dir, name)))


@master_only
def write_environment(runner: Runner | FlexibleRunner) -> None:
    """Write `environment.json` into the log directory of this run."""
    text = json.dumps(describe(runner), indent=2, default=str)
    atomic_write(Path(runner.log_dir, 'environment.json'), f'{text}\n'.encode())


def describe(runner: Runner | FlexibleRunner) -> dict[str, Any]:
    """Everything that may change a result and is not in the config."""
    gpus = range(torch.cuda.device_count())
    return dict(
        command=shlex.join(sys.orig_argv),
        config=runner.cfg.filename,
        git=git_state(CLONE),
        seed=runner.seed,
        world_size=runner.world_size,
        deterministic=dict(
            algorithms=torch.are_deterministic_algorithms_enabled(),
            cudnn=torch.backends.cudnn.deterministic,
            cudnn_benchmark=torch.backends.cudnn.benchmark,
        ),
        packages=package_versions(),
        mmcv_ops=check_ops().state,
        cpu=cpu_name(),
        cpu_capability=cpu_capability(),
        cpu_products=product_library(),
        threads=torch.get_num_threads(),
        gpus=[torch.cuda.get_device_name(i) for i in gpus],
        system=collect_env(),
    )


def git_state(clone: Path) -> dict[str, Any] | None:
    """Commit of a clone and whether its sources are modified; None without a clone."""

    def git(*command: str) -> str:
        return subprocess.run(
            ['git', '-C', str(clone), *command],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        ).stdout.strip()

    try:
        # The package may be installed inside the repository of another project.
        if not clone.samefile(git('rev-parse', '--show-toplevel')):
            return None
        return dict(
            commit=git('rev-parse', 'HEAD'),
            dirty=bool(git('status', '--porcelain', '--', *SOURCES)),
        )
    except (OSError, subprocess.SubprocessError):  # no git, no repository, no commit
        return None


def short_commit(git: dict[str, Any] | None) -> str:
    """The first digits of a commit, with a + if modified; '' if it is unknown."""
    return f'{git["commit"][:10]}{"+" * git["dirty"]}' if git else ''
