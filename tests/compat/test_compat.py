"""What `import mmpatchconvnet` adds, and what it leaves unchanged."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

from mmpatchconvnet import compat
from mmpatchconvnet.compat.hosts import (
    describe_version,
    distribution_of,
    package_versions,
)


def test_installing_twice_changes_nothing():
    finders, scopes = list(sys.meta_path), dict(MODULE2PACKAGE)
    compat.install()
    assert sys.meta_path == finders
    assert scopes == MODULE2PACKAGE


def test_finder_finds_only_the_compiled_ops():
    finder = compat.OpsFinder()
    assert finder.find_spec('mmcv._ext') is not None
    assert finder.find_spec('mmcv._extra') is None
    order = [getattr(f, '__name__', type(f).__name__) for f in sys.meta_path]
    assert order.index('OpsFinder') > order.index('PathFinder')


def test_compiled_ops_come_first(monkeypatch, tmp_path):
    """A real `mmcv._ext` is found before ours."""
    import mmcv

    if compat.ops_are_compiled():
        pytest.skip('mmcv has compiled ops here')
    (tmp_path / '_ext.py').write_text('')
    monkeypatch.setattr(mmcv, '__path__', [*mmcv.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, 'mmcv._ext', raising=False)
    assert compat.ops_are_compiled()


@pytest.mark.cls
@pytest.mark.det
def test_imports_before_the_package_do_not_matter(tmp_path):
    (tmp_path / 'early.py').write_text(  # as in mmseg
        'try:\n'
        '    from mmcv.ops import point_sample\n'
        'except ModuleNotFoundError:\n'
        '    point_sample = None\n'
    )
    code = (
        'import early, mmpretrain.models, sys\n'  # which tries to import mmdet.models
        'assert "mmdet.models" not in sys.modules\n'
        'try:\n'
        '    import mmdet.models\n'
        'except ImportError:\n'
        '    pass\n'
        'import mmpatchconvnet, importlib\n'
        'import mmcv.ops, mmdet.models\n'
        'importlib.import_module("mmcv._ext")\n'
        'from mmdet.models.dense_heads import base_dense_head, corner_head\n'
        'from mmdet.models.detectors import deformable_detr, dino\n'
        'def check(module, name):\n'
        '    assert getattr(module, name) is getattr(mmcv.ops, name), module\n'
        'check(early, "point_sample")\n'
        'check(base_dense_head, "batched_nms")\n'
        'check(corner_head, "CornerPool")\n'
        'check(deformable_detr, "MultiScaleDeformableAttention")\n'
        'check(dino, "MultiScaleDeformableAttention")\n'  # imported from the former
        'assert mmpretrain.models.utils.ResLayerExtraNorm\n'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        capture_output=True,
        text=True,
        env=os.environ | dict(PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path])),
    )
    assert done.returncode == 0, done.stderr
    # The log names the missing ops once.
    assert (done.stdout + done.stderr).count('mmcv has no compiled ops') == 1


@pytest.mark.cls
@pytest.mark.det
def test_mmpretrain_leaves_the_models_of_mmdet_until_they_are_needed():
    code = (
        'import mmpatchconvnet, mmpretrain.models, sys\n'
        'print("mmdet.models" in sys.modules)\n'
        'import mmdet.models\n'
        'from mmdet.registry import MODELS\n'
        'layer = MODELS.get("ResLayerExtraNorm")\n'
        'print(layer is mmpretrain.models.utils.ResLayerExtraNorm)'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-2:] == ['False', 'True'], done.stderr


@pytest.mark.parametrize(
    'order', ['mmpatchconvnet, mmengine', 'mmengine, mmpatchconvnet']
)
def test_config_scopes_do_not_depend_on_the_order_of_imports(order):
    code = (
        f'import {order}\n'
        'from mmengine.config.utils import MODULE2PACKAGE\n'
        'print(MODULE2PACKAGE["mmpatchconvnet"])'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout == 'mmpatchconvnet\n', done.stderr


@pytest.mark.parametrize(
    ('base', 'key'),
    [
        pytest.param(
            'mmdet::_base_/default_runtime.py', 'env_cfg', marks=pytest.mark.det
        ),
        pytest.param(
            'mmseg::_base_/default_runtime.py', 'env_cfg', marks=pytest.mark.seg
        ),
        pytest.param(
            'mmpretrain::_base_/default_runtime.py', 'env_cfg', marks=pytest.mark.cls
        ),
        ('mmpatchconvnet::_base_/short_run.py', 'train_cfg'),
    ],
)
def test_config_scopes(tmp_path: Path, base: str, key: str):
    child = tmp_path / 'child.py'
    child.write_text(f'_base_ = {base!r}\n')
    assert key in Config.fromfile(child)


@pytest.mark.parametrize(
    ('distribution', 'said'), [('mmcv-lite', '9.1 (mmcv-lite)'), ('mmcv', '9.1')]
)
def test_a_distribution_is_found_by_its_name(distribution, said, monkeypatch, tmp_path):
    """Python 3.10 cannot tell which distribution a package is from."""
    folder = tmp_path / f'{distribution.replace("-", "_")}-9.1.dist-info'
    folder.mkdir()
    folder.joinpath('METADATA').write_text(f'Name: {distribution}\nVersion: 9.1\n')
    monkeypatch.setattr(sys, 'path', [str(tmp_path)])
    assert describe_version('mmcv') == said
    assert distribution_of('mmseg') is None


def test_a_host_of_another_distribution_has_a_version(monkeypatch, tmp_path):
    """A fork under another name, and a checkout that is not installed."""
    folder = tmp_path / 'fork-9.1.dist-info'
    folder.mkdir()
    folder.joinpath('METADATA').write_text('Name: fork\nVersion: 9.1\n')
    folder.joinpath('top_level.txt').write_text('mmdet\n')
    monkeypatch.setattr(sys, 'path', [str(tmp_path)])
    monkeypatch.setattr(
        'importlib.util.find_spec', lambda name: name[:2] == 'mm' or None
    )
    versions = package_versions()
    assert versions['mmdet'] == '9.1 (fork)' and versions['mmseg'] == 'unknown'
