"""One class for three hosts: every name builds from each scope, in a fresh process."""

import subprocess
import sys

import pytest

BUILD = """
import {host}.models
from mmengine.registry import init_default_scope
from {host}.registry import MODELS
init_default_scope('{host}')
for settings in (
    dict(type='mmpatchconvnet.PatchConvNet', arch=dict(embed_dims=32, depth=2)),
    dict(type='mmpatchconvnet.AttentionPooling', in_channels=32),
    dict(type='mmpatchconvnet.DeconvPyramid', in_channels=32),
    dict(type='mmpatchconvnet.SimplePyramid', in_channels=32),
    dict(type='mmpatchconvnet.ResizePyramid', in_channels=32),
):
    print(type(MODELS.build(settings)).__name__)
"""


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    'host',
    [
        pytest.param('mmpretrain', marks=pytest.mark.cls),
        pytest.param('mmdet', marks=pytest.mark.det),
        pytest.param('mmseg', marks=pytest.mark.seg),
    ],
)
def test_builds_from_every_host(host):
    # mmdet imports its ops at once, so there the package comes first, as in our configs
    first = 'import mmpatchconvnet' if host == 'mmdet' else ''
    done = run(first + BUILD.format(host=host))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-5:] == [
        'PatchConvNet',
        'AttentionPooling',
        'DeconvPyramid',
        'SimplePyramid',
        'ResizePyramid',
    ]


@pytest.mark.cls
def test_the_head_that_extends_mmpretrain_is_registered_next_to_it():
    from mmpatchconvnet import PerTokenLinearHead
    from mmpatchconvnet.registry import MODELS

    assert MODELS.get('PerTokenLinearHead') is PerTokenLinearHead


def test_import_loads_neither_torch_nor_a_host():
    done = run(
        'import sys, mmpatchconvnet; '
        'print({"torch", "mmcv", "mmdet", "mmseg", "mmpretrain"} & set(sys.modules))'
    )
    assert done.stdout.strip() == 'set()', done.stderr


def test_library_imports_no_host():
    done = run(
        'import sys, mmpatchconvnet.models, mmpatchconvnet.engine.hooks.progress_bar; '
        'print({"mmdet", "mmseg", "mmpretrain"} & set(sys.modules))'
    )
    assert done.stdout.strip().endswith('set()'), done.stderr


def test_names_of_the_package():
    import mmpatchconvnet

    for name in mmpatchconvnet.__all__:
        getattr(mmpatchconvnet, name)
    with pytest.raises(AttributeError, match="has no attribute 'Patchconvnet'"):
        _ = mmpatchconvnet.Patchconvnet
