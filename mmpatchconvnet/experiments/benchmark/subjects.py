"""The models that can be measured: those of any config, in the modes a name gives.

`s60+deploy+nhwc` is a config with modes behind it. Short names stand for the same
models in three tasks.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from torch import nn

from mmpatchconvnet.deploy import switch_to_deploy
from mmpatchconvnet.experiments.benchmark.reference import ReferenceColumn
from mmpatchconvnet.experiments.complexity import build_model
from mmpatchconvnet.experiments.model_index import published_score
from mmpatchconvnet.models import PatchConvNet

CONFIGS = {
    'classifier': {
        's60': 'mmpatchconvnet::patchconvnet/patchconvnet-s60_16xb64_in1k.py',
        'b60': 'mmpatchconvnet::patchconvnet/patchconvnet-b60_16xb64_in1k.py',
        'resnet50': 'mmpretrain::resnet/resnet50_8xb32_in1k.py',
        'swin-t': 'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py',
        'convnext-t': 'mmpretrain::convnext/convnext-tiny_32xb128_in1k.py',
        'deit-s': 'mmpretrain::deit/deit-small_4xb256_in1k.py',  # plain attention
    },
    'detector': {
        's60': 'mmpatchconvnet::mask_rcnn/mask-rcnn_patchconvnet-s60_fpn_1x_coco.py',
        'b60': 'mmpatchconvnet::mask_rcnn/mask-rcnn_patchconvnet-b60_fpn_1x_coco.py',
        'resnet50': 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
        'swin-t': 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
        'convnext-t': 'mmdet::convnext/'
        'mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py',
    },
    'segmentor': {
        's60': 'mmpatchconvnet::upernet/'
        'patchconvnet-s60_upernet_8xb2-160k_ade20k-512x512.py',
        'b60': 'mmpatchconvnet::upernet/'
        'patchconvnet-b60_upernet_8xb2-160k_ade20k-512x512.py',
        'resnet50': 'mmseg::upernet/upernet_r50_4xb4-160k_ade20k-512x512.py',
        'swin-t': 'mmseg::swin/'
        'swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py',
        'convnext-t': 'mmseg::convnext/'
        'convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py',
    },
}
BASELINES = ('resnet50', 'swin-t', 'convnext-t')
# Where a config has no weights of its own, the one whose metafile has their score.
WEIGHTS = {
    's60': 'mmpatchconvnet::patchconvnet/patchconvnet-s60_3rdparty_in1k.py',
    'b60': 'mmpatchconvnet::patchconvnet/patchconvnet-b60_3rdparty_in1k.py',
}
SIZES = {'classifier': (224, 224), 'detector': (800, 1344), 'segmentor': (512, 512)}
MODES = {
    'reference': 'the official order of operations',
    'deploy': 'folded for inference',
    'eager': 'blocks as their formula says',
    'lean': 'three maps of a block kept for the backward pass',
    'triton': 'the second half of a block in Triton kernels, on a GPU',
    'cp': 'each block computed again in the backward pass',
    'nhwc': 'channels-last memory',
    'bf16': 'bfloat16: weights and maps or, of a whole model, autocast',
    'compile': 'torch.compile of the backbone, a column block by block',
}
OF_COLUMNS = {'reference', 'deploy', 'eager', 'lean', 'triton', 'cp'}
OF_TRAINING = {'eager', 'lean', 'cp'}
OF_INFERENCE = {'deploy'}


def split(spec: str, task: str, training: bool) -> tuple[Config, list[str]]:
    """The config and the modes that a spec such as `s60+nhwc` names.

    Args:
        spec: A name in `CONFIGS` or any config, then modes of `MODES`, joined by +.
        task: `classifier`, `detector` or `segmentor`, which a name is looked up in.
        training: Whether training or inference is to be measured.

    Raises:
        ValueError: An unknown mode, or one of the other pass.
    """
    name, *modes = spec.split('+')
    for mode in modes:
        if mode not in MODES:
            raise ValueError(
                f'{spec} asks for the mode {mode!r}: choose from {", ".join(MODES)}.'
            )
        if mode in (OF_INFERENCE if training else OF_TRAINING):
            here, there = ('training', 'inference')[:: 1 if training else -1]
            raise ValueError(f'{spec}: {mode} is for {there}, but this is {here}.')
    return load(CONFIGS[task].get(name, name)), modes


def published_accuracy() -> dict[str, float]:
    """Top-1 of every classifier, on ImageNet-1k at 224 x 224, as in the metafiles."""
    return {
        name: published_score(WEIGHTS.get(name, config), 'Top 1 Accuracy')
        for name, config in CONFIGS['classifier'].items()
    }


def load(config: str) -> Config:
    """A config by its path or, like `mmdet::...`, by its name in a package."""
    if '::' not in config:
        return Config.fromfile(config)
    with TemporaryDirectory() as folder:
        child = Path(folder, 'child.py')
        child.write_text(f'_base_ = {config!r}\n')
        return Config.fromfile(child)


def make_model(cfg: Config, modes: list[str]) -> nn.Module:
    """The model of a config with random weights and the modes that change its parts.

    Raises:
        ValueError: A mode that this backbone does not have.
    """
    torch.manual_seed(0)
    model: Any = revert_sync_batchnorm(build_model(cfg))
    column = model.backbone
    not_ours = OF_COLUMNS & set(modes) if not isinstance(column, PatchConvNet) else None
    if not_ours:
        raise ValueError(
            f'{type(column).__name__} has no mode {", ".join(sorted(not_ours))}: only '
            'a PatchConvNet has.'
        )
    of_layer_norm = {'lean', 'triton', 'reference'} & set(modes)
    if of_layer_norm and not isinstance(column.blocks[0].norm, nn.LayerNorm):
        raise ValueError(
            f'{", ".join(sorted(of_layer_norm))} is for columns with LayerNorm, this '
            f'one has {type(column.blocks[0].norm).__name__}.'
        )
    for name in {'eager', 'lean', 'triton'} & set(modes):
        for block in column.blocks:
            block.block_impl = name
    if 'cp' in modes:
        column.with_cp = True
    if 'deploy' in modes:
        switch_to_deploy(model)
    if 'reference' in modes:
        model.backbone = ReferenceColumn(column)
    return model
