"""The models that can be measured: any config, with modes.

`s60+deploy+nhwc` is a config followed by modes. A short name such as `s60` stands for a
config of the task.
"""

from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from torch import nn

from mmpatchconvnet.config_files import read_config
from mmpatchconvnet.deploy import is_uper_head, switch_to_deploy
from mmpatchconvnet.experiments.benchmark.choices import CONFIGS, MODES
from mmpatchconvnet.experiments.benchmark.reference import reference_of
from mmpatchconvnet.experiments.complexity import build_model
from mmpatchconvnet.experiments.model_index import published_score
from mmpatchconvnet.models import PatchConvNet
from mmpatchconvnet.models.backbone import Backbone

# Short name -> the config whose metafile has the score of the official weights.
WEIGHTS = {
    's60': 'mmpatchconvnet::patchconvnet/patchconvnet-s60_3rdparty_in1k.py',
    'b60': 'mmpatchconvnet::patchconvnet/patchconvnet-b60_3rdparty_in1k.py',
    'hatnet-t': 'mmpatchconvnet::transcnn/hatnet-tiny_3rdparty_in1k.py',
    'hatnet-s': 'mmpatchconvnet::transcnn/hatnet-small_3rdparty_in1k.py',
}
BACKBONE_MODES = {'reference', 'deploy', 'cp'}  # of our backbones
COLUMN_MODES = {'eager', 'lean', 'triton'}
TRAINING_MODES = {'eager', 'lean', 'cp'}
INFERENCE_MODES = {'deploy'}
HEAD_MODES = {'fasthead', 'hosthead'}


def parse_spec(spec: str, task: str, training: bool) -> tuple[Config, list[str]]:
    """The config and the modes of a spec such as `s60+nhwc`.

    Args:
        spec: A name in `CONFIGS` or any config, then modes of `MODES`, joined by +.
        task: `classifier`, `detector` or `segmentor`, for short names.
        training: Whether training or inference is measured.

    Raises:
        ValueError: An unknown mode, or one of the other pass.
    """
    name, *modes = spec.split('+')
    for mode in modes:
        if mode not in MODES:
            raise ValueError(
                f'{spec} has the unknown mode {mode!r}: choose from {", ".join(MODES)}.'
            )
        if mode in (INFERENCE_MODES if training else TRAINING_MODES):
            here, there = ('training', 'inference')[:: 1 if training else -1]
            raise ValueError(f'{spec}: {mode} is for {there}, but this is {here}.')
    return read_config(CONFIGS[task].get(name, name)), modes


def published_accuracy() -> dict[str, float]:
    """Top-1 of every classifier on ImageNet-1k at 224 x 224, from the metafiles."""
    return {
        name: published_score(WEIGHTS.get(name, config), 'Top 1 Accuracy')
        for name, config in CONFIGS['classifier'].items()
        if not name.startswith('transcnn')  # whose scores are for 256 x 256
    }


def make_model(cfg: Config, modes: list[str]) -> nn.Module:
    """The model of a config with random weights and those modes that change it.

    Raises:
        ValueError: A mode that this backbone does not have.
    """
    torch.manual_seed(0)
    model: Any = revert_sync_batchnorm(build_model(cfg))
    backbone = model.backbone
    for modes_of, kind in ((BACKBONE_MODES, Backbone), (COLUMN_MODES, PatchConvNet)):
        wanted = modes_of & set(modes)
        if wanted and not isinstance(backbone, kind):
            owners = 'PatchConvNet' + ' and TransCNN' * (kind is Backbone)
            raise ValueError(
                f'{type(backbone).__name__} has no mode {", ".join(sorted(wanted))}: '
                f'only {owners} can have it, so leave it out.'
            )
    needs_layer_norm = {'lean', 'triton', 'reference'} & set(modes)
    if needs_layer_norm and isinstance(backbone, PatchConvNet):
        norm = backbone.blocks[0].norm
        if not isinstance(norm, nn.LayerNorm):
            raise ValueError(
                f'{", ".join(sorted(needs_layer_norm))} is for columns with LayerNorm, '
                f'this one has {type(norm).__name__}.'
            )
    for name in COLUMN_MODES & set(modes):
        for block in backbone.blocks:
            block.block_impl = name
    if 'cp' in modes:
        backbone.with_cp = True
    if 'deploy' in modes:
        switch_to_deploy(model)
    if 'reference' in modes:
        model.backbone = reference_of(backbone)
    for mode in HEAD_MODES & set(modes):
        set_head(model, fast=mode == 'fasthead')
    return model


def set_head(model: Any, fast: bool) -> None:
    """Make the head of an UperNet a `FastUPerHead`, or the one of mmseg.

    Raises:
        ValueError: It has another head.
    """
    head: Any = getattr(model, 'decode_head', None)
    if not is_uper_head(head):
        raise ValueError(
            f'fasthead and hosthead are for UperNet, this is a {type(model).__name__} '
            f'with {type(head).__name__}: leave them out.'
        )
    from mmseg.models.decode_heads import UPerHead

    from mmpatchconvnet.models.uper_head import FastUPerHead

    head.__class__ = FastUPerHead if fast else UPerHead
