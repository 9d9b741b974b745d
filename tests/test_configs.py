"""Every config builds and trains a step; comparisons are fair; tables are true."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import mmengine.registry
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope, Registry, init_default_scope

import mmpatchconvnet
from mmpatchconvnet import datasets
from mmpatchconvnet.benchmark.batches import batch_of
from mmpatchconvnet.complexity import build_on_meta, count_macs, count_parameters
from mmpatchconvnet.model_index import draw_models, fill_metafile
from mmpatchconvnet.tables import fill_tables

ROOT = Path(__file__).parent.parent
HEIGHT, WIDTH = 32, 64
CONFIGS = sorted(
    path for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts
)
READMES = sorted((ROOT / 'configs').glob('*/README.md'))
# What the leaves of a folder may change in the host's config that they extend.
ALLOWED = {
    'patchconvnet': {'model.backbone', 'model.neck', 'model.head.in_channels'},
    'mask_rcnn': {'model.backbone', 'model.neck'},
    'cascade_rcnn': {
        'model.backbone',
        'model.neck',
        'optim_wrapper.constructor',
        'optim_wrapper.paramwise_cfg',
    },
    'retinanet': {'model.backbone', 'model.neck', 'optim_wrapper'},
    'upernet': {
        'model.backbone',
        'model.neck',
        'model.decode_head.in_channels',
        'model.auxiliary_head.in_channels',
    },
    'sem_fpn': {
        'model.pretrained',
        'model.backbone',
        'model.neck',
        'model.decode_head.in_channels',
        'train_dataloader.batch_size',
        'optim_wrapper',
        'train_cfg.max_iters',
        'param_scheduler',
    },
}
# Names of our own fragments, which no host reads, and the loading of the package.
OURS = {'width', 'column', 'pyramid', 'custom_imports', 'max_iters'}
SMALL = {'demo', 'comparison', 'ablation'}  # recipes of our own, on small data
# The paper's recipe for ImageNet is another than Swin's.
PAPER = {
    path for path in CONFIGS if 'lamb' in path.stem or path.parent.name == 'official'
}
# Small data: what an ablation changes in the demo config, and what a comparison does.
ABLATED = {
    'as-published': r'model\.backbone\.(norm|init)_cfg',
    'layer-norm': r'model\.backbone\.norm_cfg',
    'default-init': r'model\.backbone\.init_cfg',
    'no-stem-maps': r'model\..*\.stem_(indices|channels)',
    'late-taps': r'model\.backbone\.out_indices',
    'simple-pyramid': r'model\.neck(\.0)?\.type',
    'resize-pyramid': r'model\.neck(\.0)?\.type',
    'wide': r'model\.backbone\.(arch|out_indices)|model\..*\.(in|stem)_channels',
    'deep': r'model\.backbone\.(arch|out_indices)|model\..*\.(in|stem)_channels',
}
COMPARED = r'model\.(backbone|neck)|model\..*in_channels'
FAIR = [p for p in CONFIGS if p.parent.name not in SMALL and p not in PAPER]
RECIPES = [p for p in CONFIGS if p.parent.name not in {*SMALL, 'official'}]
# No host has a config of like size that starts from like weights.
ALONE = {
    'patchconvnet-l120_upernet_8xb2-160k_ade20k-512x512',
    'patchconvnet-s60-in21k-pre_upernet_8xb2-160k_ade20k-512x512',
}
DENSE = [path for path in FAIR if path.parent.name != 'patchconvnet']


def named(path: Path) -> str:
    return f'{path.parent.name}/{path.stem}'


def flat(node: object, path: str = '') -> dict[str, object]:
    """Dotted path -> value, without the `_scope_` that inheritance adds."""
    if isinstance(node, dict):
        pairs = node.items()
    elif isinstance(node, (list, tuple)):
        pairs = enumerate(node)
    else:
        return {path: node}
    leaves = {path: type(node).__name__} if not node else {}
    for key, value in pairs:
        if key != '_scope_':
            leaves.update(flat(value, f'{path}.{key}' if path else str(key)))
    return leaves


def difference(a: Config, b: Config) -> set[str]:
    """The settings that one of two configs has not, or has otherwise."""
    one, other = flat(a.to_dict()), flat(b.to_dict())
    missing = object()
    return {
        key
        for key in one.keys() | other.keys()
        if one.get(key, missing) != other.get(key, missing)
    }


def extend(name: str, folder: Path) -> Config:
    """A config of one line, which extends one of a package."""
    child = folder / 'child.py'
    child.write_text(f'_base_ = {name!r}\n')
    return Config.fromfile(child)


def extended_host(config: Path) -> str:
    """The config of a host that a leaf extends, by way of another leaf or at once."""
    text = config.read_text()
    if host := re.search(r"'(mm\w+::[^']+)'", text):
        return host[1]
    return extended_host(config.with_name(re.search(r"_base_ = '(.+)'", text)[1]))


@pytest.mark.parametrize('path', FAIR, ids=named)
def test_a_comparison_is_fair(path, tmp_path):
    host = extend(extended_host(path), tmp_path)
    differing = difference(Config.fromfile(path), host)
    allowed = ALLOWED[path.parent.name] | OURS
    if '_amp-' in path.stem:
        allowed = allowed | {'optim_wrapper.type'}
    if 'xcit' in path.stem:
        allowed = allowed | {'find_unused_parameters'}
    unfair = {
        key
        for key in differing
        if not any(f'{key}.'.startswith(f'{prefix}.') for prefix in allowed)
    }
    assert not unfair
    assert any(key.startswith(('model.backbone.', 'model.neck')) for key in differing)


@pytest.mark.parametrize(
    'path',
    [p for p in CONFIGS if p.parent.name in ('comparison', 'ablation')],
    ids=named,
)
def test_a_comparison_on_small_data_is_fair(path):
    first, *_, last = path.stem.split('_')
    if path.parent.name == 'ablation':
        data, allowed = first, ABLATED[last]
    else:
        data, allowed = last, COMPARED
    (demo,) = (ROOT / 'configs' / 'demo').glob(f'*_{data}.py')
    differing = difference(*map(Config.fromfile, (path, demo)))
    differing = {key for key in differing if key.split('.')[0] not in OURS}
    assert differing
    if data == 'signs':  # where one rate does not do for all
        allowed += r'|optim_wrapper\.optimizer\.lr'
    assert not {key for key in differing if not re.match(rf'({allowed})\b', key)}


@pytest.mark.parametrize('path', RECIPES, ids=named)
def test_a_recipe_has_a_baseline_for_the_same_task(path, tmp_path):
    metafile = yaml.safe_load(path.with_name('metafile.yml').read_text())
    (model,) = (m for m in metafile['Models'] if Path(m['Config']).name == path.name)
    if path.stem in ALONE:
        assert 'Baseline' not in model
        return
    ours, theirs = Config.fromfile(path), extend(model['Baseline'], tmp_path)
    assert theirs.default_scope == ours.default_scope
    assert theirs.model.type == ours.model.type
    assert theirs.val_dataloader.dataset.type == ours.val_dataloader.dataset.type


@pytest.mark.parametrize('readme', READMES, ids=lambda path: path.parent.name)
def test_configs_of_hosts_that_a_readme_names_are_there(readme, tmp_path):
    for name in set(re.findall(r'`(mm\w+::[^`]+)`', readme.read_text())):
        assert extend(name, tmp_path).model


def test_every_folder_of_configs_has_its_rules():
    assert {path.relative_to(ROOT / 'configs').parts[0] for path in CONFIGS} == (
        ALLOWED.keys() | SMALL
    )


def test_the_paper_recipe_is_the_author_s_word_where_it_is_known():
    cfg = Config.fromfile(
        ROOT / 'configs/patchconvnet/patchconvnet-b60_32xb64-lamb-400e_in1k.py'
    )
    assert cfg.optim_wrapper.optimizer.type == 'mmpretrain.Lamb'
    assert cfg.optim_wrapper.optimizer.lr == 3e-3
    assert (
        cfg.auto_scale_lr.base_batch_size
        == 2048
        == 32 * cfg.train_dataloader.batch_size
    )
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[-1].end == 400


@pytest.mark.parametrize('name', mmpatchconvnet.checkpoints.OFFICIAL_FILES)
def test_each_official_file_has_a_config_of_its_size(name):
    path = ROOT / f'configs/patchconvnet/official/{name}.py'
    cfg = Config.fromfile(path)
    size = int(name.split('_')[1]) if 'multi' not in name else 224
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        resize, crop = loader.dataset.pipeline[1:3]
        assert (crop.crop_size, resize.scale) == (size, int(size / 0.875))
    assert cfg.model.backbone.arch == name.split('_')[0]
    assert cfg.model.neck.get('num_tokens', 1) == (1000 if 'multi' in name else 1)


@pytest.mark.parametrize('arch', ['s60', 's120', 'b60', 'b120', 'l120'])
def test_columns_start_from_their_own_weights_and_tap_as_xcit_does(arch):
    column = Config.fromfile(ROOT / f'configs/_base_/columns/{arch}.py').column
    depth = int(arch[1:])
    assert column.arch == arch
    assert column.out_indices == tuple(
        depth * third // 6 - 1 for third in (2, 3, 4, 6)
    )  # 1/3, 1/2, 2/3 and all
    rates = dict(s60=0.05, s120=0.1, b60=0.15, b120=0.15, l120=0.15)
    assert column.drop_path_rate == rates[arch]
    if arch == 'l120':
        assert 'init_cfg' not in column
        return
    scheme, name = column.init_cfg.checkpoint.split('://')
    assert scheme == 'deit' and name in mmpatchconvnet.checkpoints.OFFICIAL_FILES
    assert name.startswith(f'{arch}_')


@pytest.mark.parametrize('arch', ['s60', 'b60', 'b120'])
def test_segmentors_of_the_paper_start_from_imagenet_21k(arch):
    (path,) = (ROOT / 'configs/upernet').glob(f'patchconvnet-{arch}-in21k-pre_*.py')
    init_cfg = Config.fromfile(path).model.backbone.init_cfg
    name = f'{arch}_224_21k'
    assert name in mmpatchconvnet.checkpoints.OFFICIAL_FILES
    assert init_cfg == dict(
        type='Pretrained', checkpoint=f'deit://{name}', prefix='backbone.'
    )


def test_cascade_decays_what_its_baseline_decays(tmp_path):
    path = next((ROOT / 'configs/cascade_rcnn').glob('*.py'))
    cfg = Config.fromfile(path)
    shrink(cfg.model)
    model = build_on_meta(cfg).requires_grad_(True)
    wrapper = build_optim_wrapper(model, dict(cfg.optim_wrapper, type='OptimWrapper'))
    for group in wrapper.optimizer.param_groups:
        for parameter in group['params']:
            # As mmdet's constructor has it.
            assert group['weight_decay'] == (0 if parameter.ndim == 1 else 0.05)


def test_the_paper_recipe_leaves_the_class_token_as_it_is():
    cfg = Config.fromfile(next((ROOT / 'configs/patchconvnet').glob('*s60*lamb*')))
    shrink(cfg.model)
    model = build_on_meta(cfg).requires_grad_(True)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    (decay,) = {
        group['weight_decay']
        for group in wrapper.optimizer.param_groups
        if group['params'][0] is model.neck.cls_token
    }
    assert decay == 0


def shrink(model: dict) -> None:
    """A column of few blocks and as many taps, small pictures, and no download."""
    if 'size' in model.get('data_preprocessor', {}):  # what mmseg pads to
        model['data_preprocessor']['size'] = (HEIGHT, WIDTH)
    backbone = model['backbone']
    backbone.pop('init_cfg', None)
    if isinstance(backbone.get('arch'), str) and 'PatchConvNet' in backbone['type']:
        width = {'s': 384, 'b': 768, 'l': 1024}[backbone['arch'][0]]
        backbone['arch'] = dict(embed_dims=width, depth=4)
        if 'out_indices' in backbone:
            backbone['out_indices'] = tuple(range(len(backbone['out_indices'])))


def text_of(model: dict) -> str:
    """What a model is cached by: many leaves differ in data and schedule alone."""
    return Config(dict(model=model)).pretty_text


@cache
def trained_step(scope: str, model_text: str) -> tuple[list, set[str], float]:
    """Sizes of the features, parameters without a gradient, and the loss of a step."""
    cfg = Config.fromstring(model_text, '.py')
    __import__(f'{scope}.models')
    init_default_scope(scope)
    with DefaultScope.overwrite_default_scope(scope):
        model = revert_sync_batchnorm(MODELS.build(cfg.model)).train()
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
        with torch.no_grad():
            features = model.eval().extract_feat(torch.rand(2, 3, HEIGHT, WIDTH))
    return [tuple(x.shape[1:]) for x in features], idle, loss.item()


@pytest.mark.slow
@pytest.mark.parametrize('path', CONFIGS, ids=named)
def test_builds_and_trains_a_step(path):
    cfg = Config.fromfile(path)
    shrink(cfg.model)
    if cfg.default_scope == 'mmpretrain':
        cfg.model.data_preprocessor = cfg.data_preprocessor
    features, idle, loss = trained_step(cfg.default_scope, text_of(cfg.model))
    assert 0 < loss < 1000
    assert not idle or cfg.get('find_unused_parameters')
    if cfg.default_scope == 'mmpretrain':
        return
    strides = (8, 16, 32) if cfg.model.type == 'RetinaNet' else (4, 8, 16, 32)
    sizes = [shape[1:] for shape in features][: len(strides)]
    assert sizes == [(HEIGHT // stride, WIDTH // stride) for stride in strides]


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


@pytest.mark.parametrize('path', DENSE, ids=named)
def test_another_pyramid_is_a_line(path):
    """A line of the README; the heads then get maps of the same sizes."""
    readme = path.with_name('README.md').read_text()
    lines = re.findall(r'--cfg-options (\S+)=(mmpatchconvnet\.\w+Pyramid)\n', readme)
    assert {name for _, name in lines} == {
        'mmpatchconvnet.SimplePyramid',
        'mmpatchconvnet.ResizePyramid',
    }
    cfg = Config.fromfile(path)
    shrink(cfg.model)
    own_sizes, _ = traced_features(cfg.default_scope, text_of(cfg.model))
    for key, name in lines:
        cfg.merge_from_dict({key: name})
        assert f'type={name!r}' in text_of(cfg.model)
        sizes, idle = traced_features(cfg.default_scope, text_of(cfg.model))
        assert sizes == own_sizes
        assert not idle or cfg.get('find_unused_parameters')


def test_complexity_agrees_with_what_is_derived_from_the_paper():
    # Trunk, pyramid of XCiT, FPN, RPN and heads by hand: 45.43 M and 270.5 G.
    path = ROOT / 'configs/mask_rcnn/mask-rcnn_patchconvnet-s60_fpn_1x_coco.py'
    model = build_on_meta(Config.fromfile(path))
    assert count_parameters(model) == 45_434_880
    assert round(count_macs(model, 800, 1280) / 1e9, 1) == 270.5


@pytest.mark.slow
def test_tables_are_computed_from_the_configs():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    named_configs = []
    for name in index['Import']:
        path = ROOT / name
        metafile = yaml.safe_load(path.read_text())
        assert fill_metafile(metafile, ROOT) == metafile, 'run tools/draw_tables.py'
        page, models = path.with_name('README.md').read_text(), metafile['Models']
        drawn = fill_tables(page, 'models', lambda p: draw_models(models, p))  # noqa: B023
        assert drawn == page, 'run tools/draw_tables.py'
        weights = [m['Weights'] for m in models if 'Weights' in m]
        assert weights == [
            f'deit://{Path(m["Config"]).stem}' for m in models if 'Weights' in m
        ]
        for collection in metafile['Collections']:
            assert (ROOT / collection['README']).is_file()
        named_configs += [model['Config'] for model in metafile['Models']]
    assert sorted(named_configs) == [str(path.relative_to(ROOT)) for path in CONFIGS]


@pytest.mark.parametrize('path', CONFIGS, ids=named)
def test_our_classes_are_named_with_their_scope(path):
    ours = {name.split('.')[-1] for name in mmpatchconvnet.__all__}
    types = [v for k, v in flat(Config.fromfile(path).to_dict()).items() if 'type' in k]
    assert not ours & {t for t in types if isinstance(t, str)}


@pytest.mark.parametrize('path', CONFIGS, ids=named)
def test_extends_by_its_name_in_the_package(path, tmp_path):
    leaf = path.relative_to(ROOT / 'configs')
    cfg = extend(f'mmpatchconvnet::{leaf}', tmp_path)
    __import__(f'{cfg.default_scope}.registry')
    # mmengine looks for what this package sets in our scope: no host's name is known.
    unknown = {
        kind for kind in types_in_our_scope(cfg._cfg_dict) if not known_to_us(kind)
    }
    assert not unknown, 'write them with the scope of their host'


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


def test_demo_configs_name_the_classes_of_the_scenes():
    base = Config.fromfile(ROOT / 'configs/_base_/datasets/scenes_classes.py')
    assert base.classes == datasets.CLASSES
    assert tuple(base.palette) == datasets.PALETTE
    upernet = ROOT / 'configs/demo/upernet_patchconvnet-tiny_scenes.py'
    metainfo = Config.fromfile(upernet).val_dataloader.dataset.metainfo
    assert metainfo.classes == datasets.SEGMENTATION_CLASSES
    assert tuple(metainfo.palette) == datasets.SEGMENTATION_PALETTE
