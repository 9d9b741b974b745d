"""The models that can be measured: those of any config, in the modes a name gives.

`s60+deploy+nhwc` is a config with modes behind it. Short names stand for the same
models in three tasks.
"""

from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from torch import nn

from mmpatchconvnet.deploy import switch_to_deploy
from mmpatchconvnet.engine.launch import read_config
from mmpatchconvnet.experiments.benchmark.choices import CONFIGS, MODES
from mmpatchconvnet.experiments.benchmark.reference import ReferenceColumn
from mmpatchconvnet.experiments.complexity import build_model
from mmpatchconvnet.experiments.model_index import published_score
from mmpatchconvnet.models import PatchConvNet

# Where a config has no weights of its own, the one whose metafile has their score.
WEIGHTS = {
    's60': 'mmpatchconvnet::patchconvnet/patchconvnet-s60_3rdparty_in1k.py',
    'b60': 'mmpatchconvnet::patchconvnet/patchconvnet-b60_3rdparty_in1k.py',
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
    return read_config(CONFIGS[task].get(name, name)), modes


def published_accuracy() -> dict[str, float]:
    """Top-1 of every classifier, on ImageNet-1k at 224 x 224, as in the metafiles."""
    return {
        name: published_score(WEIGHTS.get(name, config), 'Top 1 Accuracy')
        for name, config in CONFIGS['classifier'].items()
    }


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
