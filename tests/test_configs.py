"""Every config parses and builds; leaves differ from their baseline only where said."""

from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope, init_default_scope

import mmpatchconvnet
from mmpatchconvnet import datasets

ROOT = Path(__file__).parent.parent
CONFIGS = sorted(
    path for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts
)
LEAVES = {
    'patchconvnet/patchconvnet-s60_16xb64_in1k.py': (
        'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py',
        {'model.backbone', 'model.neck', 'model.head.in_channels'},
    ),
    'mask_rcnn/mask-rcnn_patchconvnet-s60_fpn_1x_coco.py': (
        'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
        {'model.backbone', 'model.neck'},
    ),
    'upernet/patchconvnet-s60_upernet_8xb2-160k_ade20k-512x512.py': (
        'mmseg::swin/'
        'swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py',
        {
            'model.backbone',
            'model.neck',
            'model.decode_head.in_channels',
            'model.auxiliary_head.in_channels',
        },
    ),
}


def test_configs_are_found():
    assert len(CONFIGS) >= 7


def flat(node: object, path: str = '') -> dict[str, object]:
    """Dotted path -> value, without the `_scope_` that inheritance adds."""
    if isinstance(node, dict):
        pairs = node.items()
    elif isinstance(node, (list, tuple)):
        pairs = enumerate(node)
    else:
        return {path: node}
    leaves = {}
    for key, value in pairs:
        if key != '_scope_':
            leaves.update(flat(value, f'{path}.{key}' if path else str(key)))
    return leaves


@pytest.mark.parametrize('leaf', LEAVES)
def test_a_comparison_is_fair(leaf, tmp_path):
    baseline_name, allowed = LEAVES[leaf]
    baseline_file = tmp_path / 'baseline.py'
    baseline_file.write_text(f'_base_ = {baseline_name!r}\n')
    ours = flat(Config.fromfile(ROOT / 'configs' / leaf).to_dict())
    baseline = flat(Config.fromfile(baseline_file).to_dict())
    missing = object()
    differing = {
        key
        for key in ours.keys() | baseline.keys()
        if ours.get(key, missing) != baseline.get(key, missing)
    }
    unexpected = {
        key
        for key in differing
        if not any(f'{key}.'.startswith(f'{prefix}.') for prefix in allowed)
    }
    assert unexpected == {'custom_imports.imports.0'}
    assert differing & {'model.backbone.type'}


def shrink(model: dict) -> None:
    """A column of the same taps but few and narrow blocks, without a download."""
    backbone = model['backbone']
    backbone.pop('init_cfg', None)
    if backbone['arch'] == 's60':
        backbone['arch'] = dict(embed_dims=384, depth=4)
        if 'out_indices' in backbone:
            backbone['out_indices'] = (0, 1, 2, 3)


@pytest.mark.slow
@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_builds_and_extracts_features(path):
    cfg = Config.fromfile(path)
    scope = cfg.default_scope
    __import__(f'{scope}.models')
    init_default_scope(scope)
    shrink(cfg.model)
    if scope == 'mmpretrain':
        cfg.model.data_preprocessor = cfg.data_preprocessor
        cfg.model.train_cfg = None
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(cfg.model).eval()
    with torch.no_grad():
        features = model.extract_feat(torch.rand(2, 3, 64, 96))
    if scope == 'mmpretrain':
        (token,) = features
        assert model.head((token,)).shape == (2, cfg.model.head.num_classes)
        return
    sizes = [tuple(x.shape[2:]) for x in features][:4]
    assert sizes == [(16, 24), (8, 12), (4, 6), (2, 3)]
    head = model.decode_head if scope == 'mmseg' else model.rpn_head
    wanted = head.in_channels
    widths = [x.shape[1] for x in features]
    assert widths == (list(wanted) if scope == 'mmseg' else [wanted] * 5)


def test_metafiles_and_configs_name_each_other():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    named = []
    for metafile in index['Import']:
        content = yaml.safe_load((ROOT / metafile).read_text())
        for collection in content['Collections']:
            assert (ROOT / collection['README']).is_file()
        named += [model['Config'] for model in content['Models']]
    assert sorted(named) == [str(path.relative_to(ROOT)) for path in CONFIGS]


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_our_classes_are_named_with_their_scope(path):
    ours = {name.split('.')[-1] for name in mmpatchconvnet.__all__}
    types = [v for k, v in flat(Config.fromfile(path).to_dict()).items() if 'type' in k]
    assert not ours & {t for t in types if isinstance(t, str)}


def test_demo_configs_name_the_classes_of_the_scenes():
    base = Config.fromfile(ROOT / 'configs/_base_/datasets/scenes_classes.py')
    assert base.classes == datasets.CLASSES
    assert tuple(base.palette) == datasets.PALETTE
    upernet = ROOT / 'configs/demo/upernet_patchconvnet-tiny_scenes.py'
    metainfo = Config.fromfile(upernet).val_dataloader.dataset.metainfo
    assert metainfo.classes == datasets.SEGMENTATION_CLASSES
    assert tuple(metainfo.palette) == datasets.SEGMENTATION_PALETTE
