"""Packages of AOTInductor."""

import shutil

import numpy as np
import pytest
from config_files import ROOT
from mmengine.config import Config
from small_models import HAT_NET

from mmpatchconvnet import Predictor, TransCNN
from mmpatchconvnet.export import torch_file
from mmpatchconvnet.export.write import write_checked
from mmpatchconvnet.inference.host_model import HostModel


@pytest.mark.slow
@pytest.mark.cls
@pytest.mark.skipif(not shutil.which('g++'), reason='needs a C++ compiler (g++)')
def test_a_package_predicts_the_same(work_dir, pictures, tmp_path):
    source = work_dir('classifier')
    cfg = Config.fromfile(next(source.glob('*.py')))
    cfg.test_dataloader.dataset.pipeline[1].scale = 96  # from 65 pixels on
    cfg.dump(tmp_path / 'a.py')
    checkpoint, file = next(source.glob('*.pth')), tmp_path / 'a.pt2'
    host = HostModel(tmp_path / 'a.py', checkpoint, 'cpu', None, 0)
    rows = write_checked(host, file, format='torch')
    assert len(rows) == 3 and all(row.agreed for row in rows)
    predictor = Predictor(tmp_path / 'a.py', checkpoint)
    pairs = zip(Predictor(file)(pictures, 2), predictor(pictures), strict=True)
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
    with pytest.raises(ValueError, match=r'device=cuda is given for .*a.pt2'):
        Predictor(file, device='cuda')


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setattr(torch_file, 'COMPILERS', ('no-compiler',))
    with pytest.raises(ValueError, match=r'no-compiler.* is found: .*--format onnx'):
        torch_file.export_torch(None, ROOT / 'a.pt2')


@pytest.mark.det
def test_masks_are_refused(build):
    with pytest.raises(ValueError, match=r'masks are wrong .*--format onnx'):
        torch_file.export_torch(build('mask_rcnn'), ROOT / 'a.pt2')


def test_hierarchical_attention_is_refused():
    with pytest.raises(ValueError, match=r'windows of TransCNN .*--format onnx'):
        torch_file.export_torch(TransCNN(HAT_NET), ROOT / 'a.pt2')
