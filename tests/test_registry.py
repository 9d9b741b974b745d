"""One class for three hosts: every name builds from each scope, in a fresh process."""

import subprocess
import sys

import pytest

BUILD = """
import {host}.models
from mmengine.registry import init_default_scope
from {host}.registry import MODELS
init_default_scope('{host}')
for settings in {parts}:
    print(type(MODELS.build(settings)).__name__)
"""
PARTS = {
    'PatchConvNet': dict(arch=dict(embed_dims=32, depth=2)),
    'AttentionPooling': dict(in_channels=32),
    'DeconvPyramid': dict(in_channels=32),
    'SimplePyramid': dict(in_channels=32),
    'ResizePyramid': dict(in_channels=32),
    'TransCNN': dict(arch='hat_tiny'),
    'HMHSA': dict(in_channels=64),
}
UPER = dict(num_classes=3, in_channels=[32], in_index=[0], channels=8)
HEADS = {
    'mmpretrain': {
        name: dict(num_classes=3, in_channels=32)
        for name in ('PerTokenLinearHead', 'PerTokenMultiLabelHead')
    },
    'mmseg': {'FastUPerHead': UPER},
}


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
    parts = PARTS | HEADS.get(host, {})
    settings = [dict(s, type=f'mmpatchconvnet.{name}') for name, s in parts.items()]
    done = run(first + BUILD.format(host=host, parts=settings))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-len(parts) :] == list(parts)


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
