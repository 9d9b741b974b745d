"""What pip installs: a wheel with configs and index, which builds a config alone."""

import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

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
    """The wheel of this tree, built from a copy, so that nothing old gets into it."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
    run(sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps',
        '--no-build-isolation', '--wheel-dir', str(folder), str(source))  # fmt: skip
    (built,) = folder.glob('*.whl')
    return built


def run(*command: str, cwd: Path | None = None) -> str:
    result = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False
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
    assert not [name for name in packed if name.startswith(('tests/', 'build/'))]


@pytest.mark.seg
@pytest.mark.slow
def test_an_installed_wheel_builds_its_own_config(wheel, tmp_path):
    home = tmp_path / 'venv'
    venv.create(home)
    site = next(home.glob('lib/python*/site-packages'))
    # The packages of this environment, but not its link to the clone: a .pth file that
    # lies behind another one's path is not read.
    found = [path for path in sys.path if path.endswith('site-packages')]
    (site / 'hosts.pth').write_text('\n'.join(found))
    python = str(home / 'bin' / 'python')
    run(sys.executable, '-m', 'pip', '--python', python, 'install', '-q', '--no-deps',
        str(wheel))  # fmt: skip
    *_, parameters, file = run(python, '-c', BUILDS, cwd=tmp_path).split()
    assert Path(file).is_relative_to(site)
    assert int(parameters) == 55_247_420
