"""Recipes are fair to their baselines, and follow the paper where it is known."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from config_files import CONFIGS, ROOT, SMALL, extend, flat, marked, read, shrink
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from torch import nn

from mmpatchconvnet.checkpoints.official import OFFICIAL_FILES, TRANSCNN_FILES
from mmpatchconvnet.engine.config_edits import of_type
from mmpatchconvnet.experiments.complexity import build_on_meta
from mmpatchconvnet.models.transcnn import ARCHITECTURES

READMES = sorted((ROOT / 'configs').glob('*/README.md'))
# What the leaves of a folder may change in the host's config that they extend.
ALLOWED = {
    'patchconvnet': {'model.backbone', 'model.neck', 'model.head.in_channels'},
    'transcnn': {'model.backbone', 'model.head.in_channels'},
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
        'model.decode_head.type',  # see the test of the head
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
    'mask2former': {
        'model.backbone',
        'model.neck',
        'model.panoptic_head.in_channels',
        'model.decode_head.in_channels',
        'optim_wrapper.paramwise_cfg.custom_keys',  # see the test of its recipe
    },
    'dino': {'model.backbone', 'model.neck'},
    'deformable_detr': {'model.backbone', 'model.neck'},
    'sparse_rcnn': {'model.backbone', 'model.neck'},
    'rtmdet': {  # see the test of its recipe
        'model.backbone',
        'model.neck',
        'model.data_preprocessor',
        'optim_wrapper.optimizer.lr',
        'param_scheduler',
        'train_cfg',
        'custom_hooks',
        *('base_lr', 'max_epochs', 'stage2_num_epochs'),  # variables of the host
    },
    'segformer': {'model.backbone', 'model.neck', 'model.decode_head.in_channels'},
}
# What a leaf with one of these in its name may change besides.
MIXED = {name: {'model.type', 'model.train_cfg'} for name in ('transmix', 'mixpro')}
# Importing the package, and hooks added to those of the host.
OURS = {
    'custom_imports',
    *(f'default_hooks.{h}' for h in ('iteration_seed', 'progress_bar', 'loss_curve')),
}
# The paper's recipe for ImageNet differs from Swin's.
OFFICIAL = [path for path in CONFIGS if '3rdparty' in path.stem]
PAPER = {path for path in CONFIGS if 'lamb' in path.stem} | {*OFFICIAL}
SLOW_POOLING = r'optim_wrapper\.paramwise_cfg'
SHAPE = (  # depth, width and stride
    r'model\.backbone\.(arch|out_indices)|'
    r'model\..*\.((in|stem)_channels|patch_size)'
)
# Small data: what an ablation changes in the demo config, and what a comparison does.
ABLATED = {
    'as-published': r'model\.backbone\.(norm|init)_cfg',
    'layer-norm': r'model\.backbone\.norm_cfg',
    'default-init': r'model\.backbone\.init_cfg',
    'no-stem-maps': r'model\..*\.stem_(indices|channels)',
    'late-taps': r'model\.backbone\.out_indices',
    'simple-pyramid': r'model\.neck(\.0)?\.(type|norm_cfg)',
    'simple-pyramid-ln': r'model\.neck(\.0)?\.(type|norm_cfg)',
    'resize-pyramid': r'model\.neck(\.0)?\.type',
    'cutmix': r'model\.train_cfg',
    'transmix': r'model\.(type|train_cfg)',
    'mixpro': r'model\.(type|train_cfg)',
    'one-token': r'model\.(neck|head)',
    'token-per-class': r'model\.(neck|head)',
    'average-pooling': r'model\.(neck|head)',
    'slow-pooling': SLOW_POOLING,
    '': SHAPE,
}
# What changes besides the rate of the pooling.
BESIDES_SLOW_POOLING = {
    **dict.fromkeys(('w192', 'd6', 'd24'), SHAPE),
    '1200-steps': r'train_cfg|param_scheduler|default_hooks\.checkpoint',
    'drop-path': r'model\.backbone\.drop_path_rate',
    'layer-norm': r'model\.backbone\.norm_cfg',
    'lr-2e-3': r'optim_wrapper\.optimizer\.lr',
    **dict.fromkeys(('colour', 'augmented'), r'train_(pipeline|dataloader\.dataset)'),
}
ABLATED |= {
    f'slow-pooling-{what}': f'{SLOW_POOLING}|{besides}'
    for what, besides in BESIDES_SLOW_POOLING.items()
}
COMPARED = r'model\.(backbone|neck)|model\..*in_channels'
FAIR = [p for p in CONFIGS if p.parent.name not in SMALL and p not in PAPER]
RECIPES = [p for p in CONFIGS if p.parent.name not in SMALL and p not in OFFICIAL]
# No host has a config of similar size with similar initial weights.
ALONE = {
    'patchconvnet-l120_upernet_8xb2-160k_ade20k-512x512',
    'patchconvnet-s60-in21k-pre_upernet_8xb2-160k_ade20k-512x512',
}


def difference(a: Config, b: Config) -> set[str]:
    """The settings in which two configs differ."""
    one, other = flat(a.to_dict()), flat(b.to_dict())
    missing = object()
    return {
        key
        for key in one.keys() | other.keys()
        if one.get(key, missing) != other.get(key, missing)
    }


def extended_host(config: Path) -> str:
    """The config of a host that a leaf extends, directly or through another leaf."""
    text = config.read_text()
    if host := re.search(r"'(mm\w+::[^']+)'", text):
        return host[1]
    return extended_host(config.with_name(re.search(r"_base_ = '(.+)'", text)[1]))


@pytest.mark.parametrize('path', marked(FAIR))
def test_a_comparison_is_fair(path, tmp_path):
    host = extend(extended_host(path), tmp_path)
    differing = difference(read(path), host)
    allowed = ALLOWED[path.parent.name] | OURS
    if '_amp-' in path.stem:
        allowed = allowed | {'optim_wrapper.type'}
    for name, settings in MIXED.items():
        if f'-{name}_' in path.stem:
            allowed = allowed | settings
    if '-attention-pooling_' in path.stem:
        allowed = allowed | {'model.neck'}
    if 'vit-b16' in path.stem:
        decay = {f'optim_wrapper.{name}' for name in ('constructor', 'paramwise_cfg')}
        allowed = allowed | decay | {'model.pretrained'}
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
    'path', marked([p for p in FAIR if p.parent.name == 'upernet'])
)
def test_the_head_of_upernet_is_the_function_of_the_host(path):
    """`tests/models/test_uper_head.py` compares the two."""
    assert read(path).model.decode_head.type == 'mmpatchconvnet.FastUPerHead'


@pytest.mark.parametrize(
    'path',
    marked([p for p in CONFIGS if p.parent.name in ('comparison', 'ablation')]),
)
def test_a_comparison_on_small_data_is_fair(path):
    task, _, *what, data = path.stem.split('_')
    ablation = path.parent.name == 'ablation'
    allowed = ABLATED[''.join(what)] if ablation else COMPARED
    (base,) = (ROOT / 'configs' / 'demo').glob(f'{task}_*_{data}.py')
    if data == 'signs':  # ablations have a base of stride 16
        base_of_ablations = path.with_name(f'{task}_patchconvnet-tiny-p16_{data}.py')
        if ablation and path != base_of_ablations:
            base = base_of_ablations
        else:
            allowed += f'|{SLOW_POOLING}'
    differing = difference(*map(read, (path, base)))
    assert differing
    # On signs one rate does not suit all; ResNet trains with that of the column.
    if data == 'signs' and 'resnet' not in path.stem:
        allowed += r'|optim_wrapper\.optimizer\.lr'
    if path.stem.endswith('-attention_signs'):
        allowed += r'|param_scheduler'  # longer warm-up
    assert not {key for key in differing if not re.match(rf'({allowed})\b', key)}


@pytest.mark.parametrize('path', marked(RECIPES))
def test_a_recipe_has_a_baseline_for_the_same_task(path, tmp_path):
    model = entry_of(path)
    if path.stem in ALONE:
        assert 'Baseline' not in model
        return
    ours, theirs = read(path), extend(model['Baseline'], tmp_path)
    assert theirs.default_scope == ours.default_scope
    kind = ours.model.type
    if kind == 'mmpatchconvnet.AttentionMixClassifier':  # it is one, see its test
        kind = 'ImageClassifier'
    assert theirs.model.type == kind
    assert theirs.val_dataloader.dataset.type == ours.val_dataloader.dataset.type


@pytest.mark.det
@pytest.mark.seg
@pytest.mark.cls
@pytest.mark.parametrize('readme', READMES, ids=lambda path: path.parent.name)
def test_configs_of_hosts_in_a_readme_exist(readme, tmp_path):
    for name in set(re.findall(r'`(mm\w+::[^`]+)`', readme.read_text())):
        assert extend(name, tmp_path).model


def test_every_folder_of_configs_has_its_rules():
    assert {path.relative_to(ROOT / 'configs').parts[0] for path in CONFIGS} == (
        ALLOWED.keys() | SMALL
    )


@pytest.mark.cls
def test_the_paper_recipe_is_as_the_author_states():
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


def entry_of(path: Path) -> dict:
    """What the metafile says of a config."""
    metafile = yaml.safe_load(path.with_name('metafile.yml').read_text())
    (model,) = (m for m in metafile['Models'] if Path(m['Config']).name == path.name)
    return model


def test_each_official_file_has_a_config():
    names = [f'deit://{name}' for name in OFFICIAL_FILES]
    for scheme in ('transcnn', 'hatnet'):
        names += [f'{scheme}://{name}' for name in TRANSCNN_FILES]
    assert sorted(entry_of(path)['Weights'] for path in OFFICIAL) == sorted(names)


@pytest.mark.parametrize('path', marked(OFFICIAL))
def test_an_official_config_is_evaluated_as_published(path):
    entry, cfg, text = entry_of(path), read(path), path.read_text()
    (size,) = re.findall(r'-(\d+)px$', path.stem) or ['224']
    (result,) = entry['Results']
    assert f'{result["Metrics"]["Top 1 Accuracy"]} top-1 at {size} pixels' in text
    assert f'    {entry["Weights"]}\n' in text  # the command that tests it
    assert f'{path.relative_to(ROOT)} ' in text
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        resize, crop = loader.dataset.pipeline[1:3]
        assert (crop.crop_size, resize.scale) == (int(size), int(int(size) / 0.875))


@pytest.mark.parametrize(
    'path', marked([path for path in OFFICIAL if path.parent.name == 'patchconvnet'])
)
def test_an_official_column_matches_its_weights(path):
    name, cfg = entry_of(path)['Weights'].removeprefix('deit://'), read(path)
    size = int(name.split('_')[1]) if 'multi' not in name else 224
    assert cfg.test_dataloader.dataset.pipeline[2].crop_size == size
    assert cfg.model.backbone.arch == name.split('_')[0]
    assert cfg.model.neck.get('num_tokens', 1) == (1000 if 'multi' in name else 1)
    assert ('in21k-pre' in path.stem) == name.endswith('21k')
    assert ('finetune' in path.stem) == ('finetune' in name)


@pytest.mark.parametrize(
    'path', marked([path for path in CONFIGS if path.parent.name == 'transcnn'])
)
def test_a_config_of_transcnn_has_its_weights_and_the_depth_rate_of_pvt(path):
    name, size = path.stem.split('_')[0].split('-')[:2]
    backbone = read(path).model.backbone
    assert backbone.arch == {'transcnn': size, 'hatnet': f'hat_{size}'}[name]
    assert backbone.drop_path_rate == (0.3 if size in ('medium', 'large') else 0.1)
    assert path not in OFFICIAL or entry_of(path)['Weights'] == f'{name}://{size}'
    # TransCNN is evaluated at 256 pixels, and HAT-Net at 224.
    assert ('256px' in path.stem) == (path in OFFICIAL and name == 'transcnn')


@pytest.mark.parametrize('arch', ['tiny', 'small'])
def test_dense_transcnn_has_its_own_weights_and_widths(arch):
    base = Config.fromfile(ROOT / f'configs/_base_/transcnn/{arch}.py')
    backbone = base.backbone
    assert backbone.arch == arch
    assert tuple(base.widths) == ARCHITECTURES[arch]['embed_dims']
    assert backbone.out_indices == (0, 1, 2, 3)
    assert backbone.init_cfg == dict(
        type='Pretrained', checkpoint=f'transcnn://{arch}', prefix='backbone.'
    )


@pytest.mark.parametrize('arch', ['s60', 's120', 'b60', 'b120', 'l120'])
def test_columns_have_their_own_weights_and_taps_as_in_xcit(arch):
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
    assert scheme == 'deit' and name in OFFICIAL_FILES
    assert name.startswith(f'{arch}_')


@pytest.mark.parametrize('path', marked([p for p in FAIR if '-s60-p8_' in p.stem]))
def test_a_column_of_stride_8_differs_only_in_its_stride(path):
    other = read(path.with_name(path.name.replace('-p8', '')))
    arch = {f'model.backbone.arch.{k}' for k in ('embed_dims', 'depth', 'patch_size')}
    differing = {key for key in difference(read(path), other) if key not in arch}
    assert {key.split('.')[-1] for key in differing} <= {'arch', 'patch_size'}
    backbone = read(path).model.backbone
    assert backbone.arch == dict(embed_dims=384, depth=60, patch_size=8)


def test_columns_keep_three_maps_of_a_block_for_the_backward_pass():
    settings = Config.fromfile(ROOT / 'configs/_base_/columns/s60.py').column
    settings.arch = dict(embed_dims=32, depth=4)
    settings.out_indices, settings.drop_path_rate = (3,), 0.0
    settings.pop('init_cfg')
    column = MODELS.build(settings)
    image = torch.randn(2, 3, 512, 512)
    (cells,) = (x.numel() for x in column(image))
    parameters = {parameter.data_ptr() for parameter in column.parameters()}

    def kept(depth: int) -> float:
        sizes: dict[int, int] = {}  # by address: a map kept twice counts once

        def count(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.data_ptr() not in parameters:
                sizes[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            x = column.stem(image)[-1]
            for block in column.blocks[:depth]:
                x = block(x)
        return sum(sizes.values()) / cells

    assert 2.9 < (kept(4) - kept(1)) / 3 < 3.1  # without the stem


@pytest.mark.parametrize(
    'path', marked([p for p in CONFIGS if p.parent.name not in SMALL])
)
def test_published_recipes_train_with_the_lean_block(path):
    backbone = read(path).model.backbone
    ours = backbone.type == 'mmpatchconvnet.PatchConvNet'
    assert backbone.get('block_impl') == ('lean' if ours else None)


@pytest.mark.seg
@pytest.mark.parametrize('arch', ['s60', 'b60', 'b120'])
def test_segmentors_of_the_paper_start_from_imagenet_21k(arch):
    (path,) = (ROOT / 'configs/upernet').glob(f'patchconvnet-{arch}-in21k-pre_*.py')
    init_cfg = read(path).model.backbone.init_cfg
    name = f'{arch}_224_21k'
    assert name in OFFICIAL_FILES
    assert init_cfg == dict(
        type='Pretrained', checkpoint=f'deit://{name}', prefix='backbone.'
    )


@pytest.mark.det
def test_cascade_decays_the_same_weights_as_its_baseline(tmp_path):
    path = next((ROOT / 'configs/cascade_rcnn').glob('*.py'))
    cfg = read(path)
    shrink(cfg.model)
    model = build_on_meta(cfg).requires_grad_(True)
    wrapper = build_optim_wrapper(model, dict(cfg.optim_wrapper, type='OptimWrapper'))
    for group in wrapper.optimizer.param_groups:
        for parameter in group['params']:
            # As in mmdet's constructor.
            assert group['weight_decay'] == (0 if parameter.ndim == 1 else 0.05)


@pytest.mark.parametrize(
    'path', marked([p for p in CONFIGS if p.parent.name == 'mask2former'])
)
def test_mask2former_trains_norms_and_column_as_with_swin(path):
    cfg = read(path)
    depth = cfg.model.backbone.arch[1:]
    keys = cfg.optim_wrapper.paramwise_cfg.custom_keys
    assert f'backbone.blocks.{int(depth) - 1}.norm' in keys
    shrink(cfg.model)
    model = build_on_meta(cfg).requires_grad_(True)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    norms = {
        parameter
        for module in model.modules()
        if isinstance(module, (nn.LayerNorm, nn.GroupNorm, nn.SyncBatchNorm))
        for parameter in module.parameters(recurse=False)
    }
    names = {parameter: name for name, parameter in model.named_parameters()}
    for group in wrapper.optimizer.param_groups:
        (parameter,) = group['params']
        name = names[parameter]
        plain = parameter in norms or re.search('(query|level)_(embed|feat)', name)
        assert group['lr'] == pytest.approx(1e-5 if 'backbone' in name else 1e-4), name
        assert group['weight_decay'] == (0 if plain else 0.05), name


@pytest.mark.det
def test_rtmdet_has_the_recipe_of_the_host_for_pre_trained_weights(tmp_path):
    ours = read(next((ROOT / 'configs/rtmdet').glob('*.py')))
    swin = extend('mmdet::rtmdet/rtmdet_l_swin_b_4xb32-100e_coco.py', tmp_path)
    for key in ('optim_wrapper', 'param_scheduler', 'train_cfg'):
        assert flat(ours[key]) == flat(swin[key])
    preprocessors = (cfg.model.data_preprocessor for cfg in (ours, swin))
    assert flat(next(preprocessors)) == flat(next(preprocessors))
    switches = (of_type(cfg.custom_hooks, 'PipelineSwitchHook') for cfg in (ours, swin))
    assert len({switch.switch_epoch for switch in switches}) == 1
    assert ours.train_dataloader.batch_size == swin.train_dataloader.batch_size


@pytest.mark.parametrize(
    'path', marked([p for p in CONFIGS if 'vit-b16-mae' in p.stem])
)
def test_vit_has_the_layer_decay_of_its_authors(path):
    cfg = read(path)
    rate = 0.65 if path.parent.name == 'upernet' else 0.7  # MAE's, ViTDet's
    shrink(cfg.model)  # to one layer
    model = build_on_meta(cfg).requires_grad_(True)
    wrapper = build_optim_wrapper(model, dict(cfg.optim_wrapper, type='OptimWrapper'))
    names = {parameter: name for name, parameter in model.named_parameters()}
    for group in wrapper.optimizer.param_groups:
        (parameter,) = group['params']
        name = names[parameter]
        below = 0 if 'backbone' not in name else 1 if 'layers' in name else 2
        assert group['lr'] == pytest.approx(1e-4 * rate**below), name
        plain = parameter.ndim == 1 or re.search('cls_token|pos_embed', name)
        assert group['weight_decay'] == (0 if plain else 0.05), name


@pytest.mark.cls
def test_the_paper_recipe_does_not_decay_the_class_token():
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


@pytest.mark.parametrize('data', ['signs', 'nuclei', 'aerial'])
@pytest.mark.parametrize(
    ('shape', 'resnet'), [('d14-w256-p8', 'resnet18'), ('d15-w384-p8', 'resnet50')]
)
def test_a_column_has_the_compute_of_a_resnet(shape, resnet, data):
    """The metafile has the multiply-adds, which another test counts."""
    folder = ROOT / 'configs/comparison'
    (column,) = folder.glob(f'*_patchconvnet-{shape}_{data}.py')
    (resnet,) = folder.glob(f'*_{resnet}_{data}.py')
    ours, theirs = (entry_of(path)['Metadata']['FLOPs'] for path in (column, resnet))
    assert ours == pytest.approx(theirs, rel=0.1)
