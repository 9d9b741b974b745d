"""The wheel that pip installs: configs, index and command work without a clone."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from mmengine.config import Config

from mmpatchconvnet.datasets import write_scenes

ROOT = Path(__file__).parent.parent
LEFT_BEHIND = '.*', 'work_dirs', 'build', 'dist', '*.egg-info', '__pycache__'
BUILDS = """
import mmpatchconvnet
from mmengine.hub import get_config
from mmpatchconvnet.experiments.complexity import build_on_meta, count_parameters

leaf = 'upernet/patchconvnet-s60_upernet_8xb2-160k_ade20k-512x512.py'
print(count_parameters(build_on_meta(get_config(f'mmpatchconvnet::{leaf}'))))
print(mmpatchconvnet.__file__)
"""


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> Path:
    """The wheel of this tree, built from a copy, so that no old files get into it."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
    run(sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps',
        '--no-build-isolation', '--wheel-dir', str(folder), str(source))  # fmt: skip
    (built,) = folder.glob('*.whl')
    return built


@pytest.fixture(scope='module')
def programs(wheel, tmp_path_factory) -> Path:
    """The folder of programs of an environment that has the wheel and no clone."""
    home = tmp_path_factory.mktemp('installed')
    venv.create(home)
    site = next(home.glob('lib/python*/site-packages'))
    # The packages of this environment, but not its link to the clone: .pth files in a
    # folder that another .pth file adds are not read.
    found = [path for path in sys.path if path.endswith('site-packages')]
    (site / 'hosts.pth').write_text('\n'.join(found))
    run(sys.executable, '-m', 'pip', '--python', str(home / 'bin' / 'python'),
        'install', '-q', '--no-deps', str(wheel))  # fmt: skip
    return home / 'bin'


def run(*command: str, cwd: Path | None = None) -> str:
    environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    result = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


@pytest.mark.slow
def test_the_wheel_holds_every_config_and_tool(wheel):
    packed = set(zipfile.ZipFile(wheel).namelist())
    for folder, pattern in (('configs', '*.*'), ('tools', '*.*')):
        for path in (ROOT / folder).rglob(pattern):
            if '__pycache__' not in path.parts:
                assert f'mmpatchconvnet/.mim/{path.relative_to(ROOT)}' in packed
    assert 'mmpatchconvnet/.mim/model-index.yml' in packed
    assert 'mmpatchconvnet/visualization/report.html' in packed
    assert 'mmpatchconvnet/inference/page.html' in packed
    assert 'mmpatchconvnet/attention/page.html' in packed
    assert not [name for name in packed if name.startswith(('tests/', 'build/'))]


@pytest.mark.seg
@pytest.mark.slow
def test_an_installed_wheel_builds_its_own_config(programs, tmp_path):
    *_, parameters, file = run(
        str(programs / 'python'), '-c', BUILDS, cwd=tmp_path
    ).split()
    assert Path(file).is_relative_to(programs.parent)
    assert int(parameters) == 55_247_420


@pytest.mark.cls
@pytest.mark.slow
def test_the_installed_command_trains_a_config_of_the_package(programs, tmp_path):
    write_scenes(tmp_path / 'scenes', num_train=4, num_val=2)
    name = 'classifier_patchconvnet-tiny_scenes.py'
    log = run(
        *(str(programs / 'mmpatchconvnet'), 'train', f'mmpatchconvnet::demo/{name}'),
        *('--data-root', 'scenes/classes', '--work-dir', 'run', '--quiet'),
        *('--cfg-options', 'train_cfg.max_iters=1', 'train_cfg.val_interval=1'),
        *('train_dataloader.batch_size=2', 'default_hooks.checkpoint.interval=1'),
        cwd=tmp_path,
    )
    assert not log
    (log_file,) = (tmp_path / 'run').glob('*/*.log')
    assert 'Iter(val) [1/1]' in log_file.read_text()
    same = (tmp_path / 'run' / name, ROOT / 'configs' / 'demo' / name)
    one, other = (Config.fromfile(path) for path in same)
    assert one.model == other.model  # no scopes are added
    assert (tmp_path / 'run' / 'iter_1.pth').is_file()
