"""Two processes on the CPU do what one does; FSDP does what DDP does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from distributed_checks import CHECKS, FSDP_KEYS
from mmengine.config import Config

from mmpatchconvnet.checkpoints import load_file
from mmpatchconvnet.config_files import ConfigError
from mmpatchconvnet.datasets import write_scenes
from mmpatchconvnet.engine.distributed import prepare_processes
from mmpatchconvnet.engine.launch import build_runner

ROOT = Path(__file__).parents[2]
CHECKS_FILE = Path(__file__).with_name('distributed_checks.py')
# What docs/scaling.md gives to --cfg-options instead of configs/_base_/fsdp.py.
SHARDED = (
    'runner_type=FlexibleRunner',
    'strategy.type=mmpatchconvnet.ShardedStrategy',
    'strategy.model_wrapper.auto_wrap_policy.type=mmpatchconvnet.wrap_each_block',
)


def torchrun(*command: str) -> subprocess.CompletedProcess:
    """Two processes, and a free port of their own."""
    return subprocess.run(
        [
            *(sys.executable, '-W', 'ignore', '-m', 'torch.distributed.run'),
            *('--standalone', '--nproc_per_node', '2', *command),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ
        | dict(OMP_WAIT_POLICY='PASSIVE', OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES=''),
    )


@pytest.fixture(scope='module')
def checked(tmp_path_factory) -> tuple[Path, str]:
    """The folder of the reports, and what was written to stderr."""
    out = tmp_path_factory.mktemp('checks')
    return out, torchrun(str(CHECKS_FILE), str(out)).stderr


@pytest.mark.det
@pytest.mark.seg
@pytest.mark.cls
@pytest.mark.slow
@pytest.mark.parametrize('name', CHECKS)
def test_two_processes(name, checked):
    out, errors = checked
    for rank in (0, 1):
        report = out / name / f'rank{rank}.json'
        assert report.is_file(), errors[-3000:]
        assert json.loads(report.read_text()) == dict(world_size=2, backend='gloo')


@pytest.fixture(scope='module')
def scenes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('data') / 'scenes'
    return write_scenes(folder, num_train=8, num_val=2) / 'classes'


def train(
    scenes: Path, work_dir: Path, steps: int, *more_options: str, flags: tuple = ()
) -> str:
    """The log of the train tool after a few steps of a classifier, two processes."""
    options = [
        f'train_cfg.max_iters={steps}',
        f'train_cfg.val_interval={steps}',
        f'default_hooks.checkpoint.interval={steps}',
        'default_hooks.logger.interval=1',
        'train_dataloader.batch_size=2',
        'auto_scale_lr.base_batch_size=1',
    ]
    for loader in ('train', 'val'):
        options.append(f'{loader}_dataloader.num_workers=0')
        options.append(f'{loader}_dataloader.persistent_workers=False')
    config = 'configs/demo/classifier_patchconvnet-tiny_scenes.py'
    done = torchrun(
        *('tools/train.py', config, '--launcher', 'pytorch'),
        *('--data-root', str(scenes), '--work-dir', str(work_dir)),
        *(*flags, '--cfg-options', *options, *more_options),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.cls
@pytest.mark.slow
@pytest.mark.parametrize('sharded', [(), SHARDED], ids=['ddp', 'fsdp'])
def test_two_processes_train_and_resume_to_the_bit(sharded, scenes, tmp_path):
    options = (
        *sharded,
        'default_hooks.checkpoint.interval=1',
        'model.backbone.drop_path_rate=0.5',
        # With 0, mmengine loads what it skips in the process that trains, which draws.
        'train_dataloader.num_workers=1',
        'auto_scale_lr.enable=True',
    )
    log = train(scenes, tmp_path, 3, *options, flags=('--seed', '5'))
    # mmengine counts processes and calls them GPUs.
    assert 'Distributed launcher: pytorch' in log and 'GPU number: 2' in log
    # Two processes with two pictures each, four times the one the rate is for.
    assert 'Scaling the original LR by 4.0' in log
    names = {f'iter_{step}.pth' for step in (1, 2, 3)}
    assert {path.name for path in tmp_path.glob('*.pth')} == names
    for file in ('predictions.png', 'curves.png'):
        assert (tmp_path / file).is_file()
    if not sharded:  # what is resumed is the same, and the next one resumes it
        return
    whole = load_file((tmp_path / 'iter_3.pth').rename(tmp_path / 'whole.pth'))
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_2.pth'))
    log = train(scenes, tmp_path, 3, *options, flags=('--resume',))
    assert 'Iter(train) [3/3]' in log and 'Iter(train) [1/3]' not in log
    again = load_file(tmp_path / 'iter_3.pth')
    # Whole, as of any other run: by name and by shape.
    weights = again['state_dict']
    assert weights['backbone.blocks.0.pointwise_in.weight'].shape == (128, 128, 1, 1)
    assert not [name for name in weights if 'fsdp' in name]
    torch.testing.assert_close(weights, whole['state_dict'], rtol=0, atol=0)


def test_the_slurm_script_asks_for_nodes_and_starts_the_train_tool(tmp_path):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    config = 'configs/upernet/patchconvnet-s60_upernet_8xb2-160k_ade20k-512x512.py'
    script = ROOT / 'tools' / 'slurm_train.sh'
    environment = dict(PATH=f'{tmp_path}:/usr/bin:/bin', PARTITION='gpu')

    def arguments(config: str, gpus: int) -> subprocess.CompletedProcess:
        return subprocess.run(
            ['bash', str(script), config, '--amp'],
            env=environment | dict(GPUS=str(gpus)),
            cwd=ROOT,
            capture_output=True,
            text=True,
        )

    asked = arguments(config, 16).stdout.split()
    assert {'--nodes=2', '--ntasks=16', '--gres=gpu:8', '--partition=gpu'} <= set(asked)
    assert asked[-4:] == ['--launcher', 'slurm', config, '--amp']
    assert Path(asked[-5]).resolve() == ROOT / 'tools' / 'train.py'
    wrong = arguments(config, 12)
    assert wrong.returncode == 2 and 'GPUS=12' in wrong.stderr
    assert 'gone.py' in arguments('gone.py', 8).stderr


def test_missing_processes_are_named(monkeypatch, tmp_path):
    for name in ('RANK', 'SLURM_PROCID'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r'pytorch .*RANK.* torchrun'):
        prepare_processes(Config(dict(launcher='pytorch')))
    with pytest.raises(ConfigError, match=r'slurm .*SLURM_PROCID.* srun'):
        prepare_processes(Config(dict(launcher='slurm')))
    prepare_processes(Config(dict(launcher='none')))
    cfg = Config(dict(FSDP_KEYS, model={}, work_dir=str(tmp_path), env_cfg={}))
    cfg.launcher = 'none'
    with pytest.raises(ValueError, match=r'FSDP .*launcher'):
        build_runner(cfg, training=True)
