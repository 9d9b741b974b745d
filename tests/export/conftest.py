"""Small models with random weights, and the files that they are exported to."""

import copy
import shutil
import sys
from functools import cache

import pytest
from mmengine.config import Config
from small_models import HOSTS, build_model, small_config


@pytest.fixture(scope='session')
def build():
    """Returns a model of a task in eval mode; `edit` changes its settings before."""

    @cache
    def make(task, edit):
        pytest.importorskip(HOSTS[task])
        cfg = small_config(task)
        if task == 'mask_rcnn':
            cfg.model.test_cfg.rpn.nms_pre = 200
            # Random weights give all objects about the same score.
            cfg.model.test_cfg.rcnn.score_thr = 0.0
        if edit:
            edit(cfg.model)
        return build_model(cfg)

    return lambda task, edit=None: copy.deepcopy(make(task, edit))


@pytest.fixture(scope='session')
def exported(build, command_export, tmp_path_factory):
    """Returns the file of a task's model; each model is traced once."""
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    from mmpatchconvnet.deploy import switch_to_deploy
    from mmpatchconvnet.export import make_graph
    from mmpatchconvnet.export.half import to_half
    from mmpatchconvnet.export.onnx_file import save, tidy, trace

    folder = tmp_path_factory.mktemp('exported')

    @cache
    def traced(task, preprocess):
        graph = make_graph(switch_to_deploy(build(task)), preprocess)
        return graph, trace(graph)

    @cache
    def make(task, preprocess=False, fp16=False):
        if not preprocess and not fp16 and task != 'mask_rcnn':
            return command_export(task)[1]  # the same model
        graph, proto = copy.deepcopy(traced(task, preprocess))
        if fp16:
            proto = to_half(proto, graph)
        tidy(proto, {})
        path = folder / f'{task}_{preprocess}_{fp16}.onnx'
        save(proto, path)
        return path

    return make


@pytest.fixture(scope='session')
def command_export(work_dir, tmp_path_factory):
    """Returns the work dir of a task and the file that the command makes of it, once.

    The test pipelines resize, so that boxes, masks and logits must be scaled back.
    """
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    from mmpatchconvnet import cli

    @cache
    def make(task):
        folder = tmp_path_factory.mktemp('export') / 'work dir'
        shutil.copytree(work_dir(task), folder)
        config = next(folder.glob('*.py'))
        cfg = Config.fromfile(config)
        if task != 'classifier':
            resize = dict(type='Resize', scale=(110, 90), keep_ratio=True)
            cfg.test_dataloader.dataset.pipeline[1] = resize
            cfg.dump(config)
        file = folder.parent / 'new/model.onnx'
        with pytest.MonkeyPatch.context() as patch:
            arguments = ['export', str(folder), '--out', str(file)]
            patch.setattr(sys, 'argv', ['', *arguments])
            cli.main()
        return folder, file

    return make
