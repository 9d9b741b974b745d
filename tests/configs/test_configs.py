"""Every config builds, trains a step and can be extended; the tables are true."""

import ast
import math
import re
from argparse import ArgumentParser
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import mmengine.registry
import pytest
import torch
import yaml
from config_files import (
    CONFIGS,
    HEIGHT,
    ROOT,
    SMALL,
    WIDTH,
    extend,
    flat,
    marked,
    read,
    shrink,
    text_with_bases,
)
from mmengine.config import Config, DictAction
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope, Registry, init_default_scope
from mmengine.runner import Runner
from small_models import set_level_embedding

import mmpatchconvnet
from mmpatchconvnet import datasets
from mmpatchconvnet.engine.config_edits import of_type, replace
from mmpatchconvnet.engine.config_options import check_options, keys_read_by
from mmpatchconvnet.experiments.benchmark.batches import batch_of
from mmpatchconvnet.experiments.complexity import (
    build_on_meta,
    count_macs,
    count_parameters,
)
from mmpatchconvnet.experiments.model_index import (
    draw_models,
    fill_metafile,
    published_score,
)
from mmpatchconvnet.experiments.query_heads import has_queries
from mmpatchconvnet.experiments.tables import fill_tables

HOST_DATA = 'mmdet::_base_/datasets/coco_instance.py'
DENSE = [
    path
    for path in CONFIGS
    if path.parent.name not in {*SMALL, 'patchconvnet', 'transcnn'}
]
COLUMNS = [path for path in DENSE if 'DeconvPyramid' in text_with_bases(path)]
FROM_STRIDE_8 = ('RetinaNet', 'DINO', 'DeformableDETR', 'RTMDet')


def text_of(model: dict) -> str:
    """The cache key of a model: many leaves differ only in data and schedule."""
    return Config(dict(model=model)).pretty_text


@cache
def trained_step(scope: str, model_text: str) -> tuple[list, set[str], float]:
    """Sizes of the features, parameters without a gradient, and the loss of a step."""
    cfg = Config.fromstring(model_text, '.py')
    __import__(f'{scope}.models')
    init_default_scope(scope)
    with DefaultScope.overwrite_default_scope(scope):
        model = revert_sync_batchnorm(MODELS.build(cfg.model)).train()
        set_level_embedding(model)
        batch = model.data_preprocessor(
            batch_of(scope, 2, HEIGHT, WIDTH), training=True
        )
        loss, _ = model.parse_losses(model(**batch, mode='loss'))
        loss.backward()
        idle = {
            name
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and parameter.grad is None
        }
        maps: list = []
        part = model.backbone if getattr(model, 'neck', None) is None else model.neck
        part.register_forward_hook(lambda module, inputs, outputs: maps.extend(outputs))
        model.eval()
        with torch.no_grad():
            # Mask R-CNN predicts in tests/inference; here it takes as long as the step.
            if hasattr(model, 'roi_head') and not has_queries(model):
                model.extract_feat(batch['inputs'])
            else:
                assert len(model(**batch, mode='predict')) == 2
    return [tuple(x.shape[1:]) for x in maps], idle, loss.item()


@pytest.mark.slow
@pytest.mark.parametrize('path', marked(CONFIGS))
def test_builds_trains_a_step_and_predicts(path):
    cfg = read(path)
    shrink(cfg.model)
    if cfg.default_scope == 'mmpretrain':
        cfg.model.data_preprocessor = cfg.data_preprocessor
    features, idle, loss = trained_step(cfg.default_scope, text_of(cfg.model))
    assert math.isfinite(loss)
    assert not idle or cfg.get('find_unused_parameters')
    if cfg.default_scope == 'mmpretrain':
        return
    first = 8 if cfg.model.type in FROM_STRIDE_8 else 4
    sizes = [(HEIGHT // s, WIDTH // s) for s in (4, 8, 16, 32) if s >= first]
    assert [shape[1:] for shape in features][: len(sizes)] == sizes


@cache
def traced_features(scope: str, model_text: str) -> tuple[list, set[str]]:
    """Sizes of the features, and parameters without a gradient, without any values."""
    cfg = Config.fromstring(model_text, '.py')
    cfg.default_scope = scope
    model = build_on_meta(cfg).requires_grad_(True)
    with torch.device('meta'):
        features = model.extract_feat(torch.empty(1, 3, HEIGHT, WIDTH))
    sum(x.sum() for x in features).backward()
    idle = {
        name
        for part in (model.backbone, model.neck)
        for name, parameter in part.named_parameters()
        if parameter.grad is None
    }
    return [tuple(x.shape) for x in features], idle


@pytest.mark.parametrize('path', marked(COLUMNS))
def test_another_pyramid_is_one_option(path):
    """The README gives the option; the heads still get maps of the same sizes."""
    readme = path.with_name('README.md').read_text()
    lines = re.findall(r'--cfg-options (\S+)=(mmpatchconvnet\.\w+Pyramid)\n', readme)
    assert {name for _, name in lines} == {
        'mmpatchconvnet.SimplePyramid',
        'mmpatchconvnet.ResizePyramid',
    }
    cfg = read(path)
    shrink(cfg.model)
    own_sizes, _ = traced_features(cfg.default_scope, text_of(cfg.model))
    for key, name in lines:
        cfg.merge_from_dict({key: name})
        assert f'type={name!r}' in text_of(cfg.model)
        sizes, idle = traced_features(cfg.default_scope, text_of(cfg.model))
        assert sizes == own_sizes
        assert not idle or cfg.get('find_unused_parameters')


@pytest.mark.slow
@pytest.mark.parametrize(
    'path', marked([path for path in DENSE if 'transcnn-small' in path.stem])
)
def test_hat_net_is_one_line_of_options(path):
    readme = path.with_name('README.md').read_text()
    (line,) = re.findall(r'--cfg-options (.*arch=hat_small.*)\n', readme)
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    options = parser.parse_args(['--cfg-options', *line.split()]).cfg_options
    cfg = read(path)
    check_options(cfg, options)
    cfg.merge_from_dict(options)
    backbone = cfg.model.backbone
    assert backbone.init_cfg.checkpoint == 'hatnet://small'
    shrink(cfg.model)
    _, idle, loss = trained_step(cfg.default_scope, text_of(cfg.model))
    assert math.isfinite(loss) and not idle


@pytest.mark.det
def test_complexity_equals_a_count_by_hand():
    # Trunk, pyramid of XCiT, FPN, RPN and heads by hand: 45.43 M and 270.5 G.
    path = ROOT / 'configs/mask_rcnn/mask-rcnn_patchconvnet-s60_fpn_1x_coco.py'
    model = build_on_meta(read(path))
    assert count_parameters(model) == 45_434_880
    assert round(count_macs(model, 800, 1280) / 1e9, 1) == 270.5


@pytest.mark.det
@pytest.mark.seg
@pytest.mark.cls
@pytest.mark.slow
def test_tables_are_computed_from_the_configs():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    named_configs = []
    for name in index['Import']:
        path = ROOT / name
        metafile = yaml.safe_load(path.read_text())
        # Each takes a second; the command computes all.
        some = dict(metafile, Models=metafile['Models'][::3])
        assert fill_metafile(some, ROOT) == some, 'run mmpatchconvnet tables'
        page, models = path.with_name('README.md').read_text(), metafile['Models']
        drawn = fill_tables(page, 'models', lambda p: draw_models(models, p))  # noqa: B023
        assert drawn == page, 'run mmpatchconvnet tables'
        assert all(model['Name'] == Path(model['Config']).stem for model in models)
        for collection in metafile['Collections']:
            assert (ROOT / collection['README']).is_file()
        named_configs += [model['Config'] for model in metafile['Models']]
    assert sorted(named_configs) == [str(path.relative_to(ROOT)) for path in CONFIGS]


def test_published_scores_are_read_from_metafiles():
    config = 'mmpatchconvnet::patchconvnet/patchconvnet-s60_3rdparty_in1k.py'
    assert published_score(config, 'Top 1 Accuracy') == 82.1
    for missing in ('mmpatchconvnet::patchconvnet/nothing.py', 'nothing::a/b.py'):
        with pytest.raises(ValueError, match=missing):
            published_score(missing, 'Top 1 Accuracy')


@pytest.mark.parametrize('path', marked(CONFIGS))
def test_our_classes_are_named_with_their_scope(path):
    ours = {name.split('.')[-1] for name in mmpatchconvnet.__all__}
    types = [v for k, v in flat(read(path).to_dict()).items() if 'type' in k]
    assert not ours & {t for t in types if isinstance(t, str)}


@pytest.mark.parametrize('path', marked(CONFIGS))
def test_extends_by_its_name_in_the_package(path, tmp_path):
    leaf = path.relative_to(ROOT / 'configs')
    cfg = extend(f'mmpatchconvnet::{leaf}', tmp_path)
    __import__(f'{cfg.default_scope}.registry')
    # mmengine looks up types that this package sets in our scope, not in a host's.
    unknown = {
        kind for kind in types_in_our_scope(cfg._cfg_dict) if not known_to_us(kind)
    }
    assert not unknown, 'write them with the scope of their host'


# Variables that the hosts' own configs leave behind, and ours set to the values in use.
OF_HOSTS = {
    *('data_root', 'dataset_type', 'backend_args', 'crop_size', 'norm_cfg'),
    *('train_pipeline', 'test_pipeline', 'tta_pipeline', 'img_ratios', 'tta_model'),
    *('max_epochs', 'pretrained', 'checkpoint_file', 'bgr_mean', 'bgr_std'),
    *('backbone_norm_cfg', 'optimizer', 'vis_backends', 'EIGVAL', 'EIGVEC'),
    *('depths', 'image_size', 'batch_augments', 'num_classes', 'custom_keys'),
    *('num_things_classes', 'num_stuff_classes', 'max_iters', 'interval'),
    *('dynamic_intervals', 'backbone_norm_multi', 'backbone_embed_multi'),
    *('embed_multi', 'base_lr', 'img_scales', 'stage2_num_epochs'),
    *('train_pipeline_stage2', 'num_proposals', 'num_stages', 'checkpoint', 'fp16'),
}
HOOKS = {'IterationSeedHook', 'ProgressBarHook', 'LossCurveHook'}


@pytest.mark.parametrize('path', marked(CONFIGS))
def test_every_setting_is_read_and_the_hooks_are_ours(path):
    cfg = read(path)  # as the host's own train script reads it
    assert cfg.keys() <= keys_read_by(Runner) | OF_HOSTS | {'custom_imports'}
    hooks = {hook.type.split('.')[-1] for hook in cfg.default_hooks.values() if hook}
    assert hooks >= HOOKS
    assert 'CheckpointHook' in hooks  # hooks of the host stay


@pytest.mark.det
def test_a_config_of_ones_own_takes_our_hooks_as_the_docs_say(tmp_path):
    page = (ROOT / 'docs/training.md').read_text()
    (lines,) = re.findall(r'```python\n(_base_ = .*runtime\.py.*?)```', page, re.DOTALL)
    child = tmp_path / 'child.py'
    host = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
    child.write_text(lines.replace('mmdet::...', host))
    cfg = Config.fromfile(child)
    hooks = {hook['type'].split('.')[-1] for hook in cfg.default_hooks.values()}
    assert hooks >= HOOKS | {'CheckpointHook', 'DetVisualizationHook'}
    assert 'hooks' not in cfg


@pytest.mark.parametrize('path', marked(CONFIGS))
def test_the_pipelines_of_a_config_are_those_of_its_loaders(path):
    cfg = read(path)  # mmseg's `inference_model` takes `test_pipeline`
    for part in ('train', 'test'):
        pipeline = cfg[f'{part}_dataloader'].dataset.pipeline
        assert flat(cfg.get(f'{part}_pipeline', pipeline)) == flat(pipeline)
    assert cfg.default_scope != 'mmseg' or cfg.test_pipeline


@pytest.mark.parametrize(
    'path', sorted((ROOT / 'configs').rglob('*.py')), ids=lambda path: path.stem
)
def test_no_config_edits_by_position(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Subscript):
            index = node.slice
        elif isinstance(node, ast.Call) and getattr(node.func, 'attr', '') == 'pop':
            (index,) = node.args
        else:
            continue
        assert isinstance(ast.literal_eval(index), str), ast.unparse(node)


def test_an_edit_of_a_missing_step_fails():
    pipeline = [dict(type='mmdet.LoadImage'), dict(type='Flip'), dict(type='Flip')]
    for edit in (of_type, replace):
        with pytest.raises(ValueError, match=r'Resize.* 0 times in LoadImage, Flip'):
            edit(pipeline, 'Resize')
        with pytest.raises(ValueError, match=r'Flip.* 2 times'):
            edit(pipeline, 'Flip')
    assert len(pipeline) == 3


@pytest.mark.det
def test_an_inserted_step_does_not_move_the_edits_of_a_fragment(tmp_path):
    """Our unchanged fragment works on a host's data with one step more."""
    host = Config.fromfile(Config._get_cfg_path(HOST_DATA, '')[0])
    for pipeline in (host.train_pipeline, host.test_pipeline):
        pipeline.insert(0, dict(type='Added'))
    host.dump(tmp_path / 'host.py')
    fragment = (ROOT / 'configs/_base_/datasets/coco_small.py').read_text()
    ours = tmp_path / 'ours.py'
    ours.write_text(fragment.replace(HOST_DATA, 'host.py'))
    cfg = Config.fromfile(ours)
    kinds = [step.type for step in cfg.train_dataloader.dataset.pipeline]
    assert kinds[:4] == ['Added', 'LoadImageFromFile', 'LoadAnnotations', 'RandomCrop']
    host.train_pipeline[3].type = 'OtherResize'
    host.dump(tmp_path / 'host.py')
    with pytest.raises(ValueError, match='Resize'):
        Config.fromfile(ours)


def types_in_our_scope(node: object, ours: bool = False) -> Iterator[str]:
    if isinstance(node, dict):
        ours = node.get('_scope_', 'mmpatchconvnet' if ours else '') == 'mmpatchconvnet'
        if ours and isinstance(node.get('type'), str):
            yield node['type']
        # Host classes build their own parts, such as pipelines, in their own scope.
        node = [] if ours else list(node.values())
    if isinstance(node, (list, tuple)):
        for one in node:
            yield from types_in_our_scope(one, ours)


def known_to_us(kind: str) -> bool:
    for root in vars(mmengine.registry).values():
        if isinstance(root, Registry) and root.parent is None:
            with root.switch_scope_and_registry('mmpatchconvnet') as registry:
                if registry.get(kind) is not None:
                    return True
    return False


@pytest.mark.seg
def test_demo_configs_name_the_classes_of_the_scenes():
    base = Config.fromfile(ROOT / 'configs/_base_/datasets/scenes_classes.py')
    assert base.classes == datasets.CLASSES
    assert tuple(base.palette) == datasets.PALETTE
    upernet = ROOT / 'configs/demo/upernet_patchconvnet-tiny_scenes.py'
    metainfo = Config.fromfile(upernet).val_dataloader.dataset.metainfo
    assert metainfo.classes == datasets.SEGMENTATION_CLASSES
    assert tuple(metainfo.palette) == datasets.SEGMENTATION_PALETTE
