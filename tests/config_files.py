"""The configs of the repository, and helpers of their tests."""

import re
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
from mmengine.config import Config

from mmpatchconvnet.models.transcnn import resolve_arch

ROOT = Path(__file__).parent.parent
HEIGHT, WIDTH = 32, 64
CONFIGS = sorted(
    path for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts
)
TASKS = [
    pytest.param('classifier', marks=pytest.mark.cls),
    pytest.param('mask_rcnn', marks=pytest.mark.det),
    pytest.param('upernet', marks=pytest.mark.seg),
]
SMALL = {'demo', 'comparison', 'ablation'}  # recipes of our own, on small data


def read(path: Path) -> Config:
    """A config of this repository, parsed once for all tests."""
    return deepcopy(parsed(path))


@cache
def parsed(path: Path) -> Config:
    return Config.fromfile(path)


def named(path: Path) -> str:
    return f'{path.parent.name}/{path.stem}'


def text_with_bases(path: Path) -> str:
    """The text of a config and of its bases in this repository."""
    text = path.read_text()
    bases = re.findall(r"'([^':]+\.py)'", text)
    return ''.join([text, *(text_with_bases(path.parent / base) for base in bases)])


def hosts_of(path: Path) -> set[str]:
    """The hosts of a config, from its text: mmengine needs them to read it."""
    return set(re.findall(r"'(mmdet|mmseg|mmpretrain)\b", text_with_bases(path)))


def marked(paths: list[Path]) -> list:
    """Parameters of a test, each with the markers of its hosts."""
    markers = dict(mmdet='det', mmseg='seg', mmpretrain='cls')
    return [
        pytest.param(
            path,
            id=named(path),
            marks=[getattr(pytest.mark, markers[host]) for host in hosts_of(path)],
        )
        for path in paths
    ]


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


def extend(name: str, folder: Path) -> Config:
    """A config of one line, which extends one of a package."""
    if 'convnext' in name or 'poolformer' in name:
        pytest.importorskip('mmpretrain', reason='the hosts take it from mmpretrain')
    child = folder / 'child.py'
    child.write_text(f'_base_ = {name!r}\n')
    return Config.fromfile(child)


def shrink(model: dict) -> None:
    """A backbone of few blocks with as many taps, small pictures, and no download."""
    for augment in (model.get('train_cfg') or {}).get('augments', ()):
        if 'cell_size' in augment:  # a picture has several cells
            augment['cell_size'] = HEIGHT
    preprocessor = model.get('data_preprocessor', {})
    for part in (preprocessor, *(preprocessor.get('batch_augments') or ())):
        if 'size' in part:  # what mmseg, and Mask2Former in mmdet, pad to
            part['size'] = (HEIGHT, WIDTH)
    shrink_queries(model)
    backbone = model['backbone']
    backbone.pop('init_cfg', None)
    if 'mm' in backbone['type']:  # ours, which differ in it between sizes
        backbone.pop('drop_path_rate', None)
    if backbone['type'].endswith('SwinTransformer') and 'img_size' in backbone:
        backbone['pad_small_map'] = True  # mmpretrain's; mmdet's and mmseg's pad anyway
    if isinstance(backbone.get('arch'), str) and 'PatchConvNet' in backbone['type']:
        width = {'s': 384, 'b': 768, 'l': 1024}[backbone['arch'][0]]
        backbone['arch'] = dict(embed_dims=width, depth=4)
        if 'out_indices' in backbone:
            backbone['out_indices'] = tuple(range(len(backbone['out_indices'])))
    if 'VisionTransformer' in backbone['type']:
        taps = range(len(backbone['out_indices']))
        width = {'base': 768, 'deit-small': 384}[backbone['arch']]
        sizes = dict(embed_dims=width, num_heads=6, feedforward_channels=width)
        backbone['arch'] = dict(sizes, num_layers=len(taps))
        backbone['out_indices'] = list(taps)
    if 'TransCNN' in backbone['type']:
        ones = (1, 1, 1, 1)  # tiny and small become one
        settings = resolve_arch(backbone['arch'])
        backbone['arch'] = dict(settings, depths=ones, expansions=ones)


def shrink_queries(model: dict) -> None:
    """One layer, and fewer queries than a small picture has cells."""
    test_cfg = model.get('test_cfg') or {}
    for name in {'max_per_img', 'max_per_image'} & test_cfg.keys():
        test_cfg[name] = 20
    heads = [model.get(name) or {} for name in ('decode_head', 'panoptic_head')]
    for part in (model, *heads, *(head.get('pixel_decoder', {}) for head in heads)):
        for name in ('encoder', 'decoder', 'transformer_decoder'):
            if isinstance(part.get(name), dict):
                part[name]['num_layers'] = 1
        if 'num_queries' in part:
            part['num_queries'] = 20
    if model['type'] == 'SparseRCNN':
        model['rpn_head']['num_proposals'] = 20
        roi_head, train_cfg = model['roi_head'], model['train_cfg']
        roi_head.update(num_stages=1, stage_loss_weights=[1])
        roi_head['bbox_head'] = roi_head['bbox_head'][:1]
        train_cfg['rcnn'] = train_cfg['rcnn'][:1]
