"""Small models of the three tasks with random weights, and work dirs of them."""

from pathlib import Path
from typing import Any

import torch
from config_files import ROOT, read
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

HOSTS = dict(classifier='mmpretrain', mask_rcnn='mmdet', upernet='mmseg')
# An arch of TransCNN.
HAT_NET = dict(
    embed_dims=(8, 8, 16, 16),
    depths=(1, 2, 3, 1),
    head_dims=4,
    expansions=(2, 2, 2, 2),
    kernel_sizes=(3, 3, 5, 3),
    grid_sizes=(4, 2, 2, 1),
    pool_ratios=(4, 2, 1, 1),
    revised=True,
)
FIRST_RELEASE = dict(HAT_NET, revised=False)
NAMES = dict(classifier='classifier', mask_rcnn='mask-rcnn', upernet='upernet')


def set_level_embedding(model: nn.Module) -> None:
    """The one parameter that mmdet's DETRs leave unset until `init_weights`."""
    if hasattr(model, 'level_embed'):
        nn.init.normal_(model.level_embed)


def small_config(task: str) -> Config:
    """A config of the demo with a shorter column."""
    cfg = read(ROOT / f'configs/demo/{NAMES[task]}_patchconvnet-tiny_scenes.py')
    backbone = cfg.model.backbone
    backbone.arch.depth = 4
    if 'out_indices' in backbone:
        backbone.out_indices = (0, 1, 2, 3)
    if task == 'mask_rcnn':  # fewer objects to find
        cfg.model.test_cfg.rpn.max_per_img = 100
        cfg.model.test_cfg.rcnn.max_per_img = 20
    return cfg


def build_model(cfg: Config) -> nn.Module:
    """The model of a config, in eval mode."""
    if cfg.get('data_preprocessor'):
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(cfg.model).eval()


def write_work_dir(task: str, folder: Path) -> Path:
    """A dumped config and a checkpoint, as a training leaves them."""
    cfg: Any = small_config(task)
    cfg.dump(folder / f'{NAMES[task]}_patchconvnet-tiny_scenes.py')
    meta = dict(dataset_meta=dict(cfg.test_dataloader.dataset.metainfo))
    content = dict(state_dict=build_model(cfg).state_dict(), meta=meta)
    torch.save(content, folder / 'iter_8.pth')
    return folder
