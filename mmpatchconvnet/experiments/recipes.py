"""What the row of a run takes from its config: a hash of its recipe, and its size."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmpatchconvnet.config_files import ConfigError, datasets_of, read_config
from mmpatchconvnet.experiments.complexity import (
    build_on_meta,
    count_macs,
    count_parameters,
)
from mmpatchconvnet.nested import without
from mmpatchconvnet.unknown_arguments import explain_arguments

# Top-level keys of a config that decide a score: model, data and schedule.
RECIPE_KEYS = (
    *('model', 'load_from', 'data_preprocessor'),
    *('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'),
    *('val_dataloader', 'val_evaluator', 'randomness'),
)
# Keys below them that change no score: the folder of the data, and speed.
NEUTRAL_KEYS = {'data_root', 'num_workers', 'persistent_workers', 'pin_memory'} | {
    *('block_impl', 'val_interval', '_scope_'),
}


def settings_of(config: Path) -> dict[str, str]:
    """The columns of a row that follow from its config."""
    cfg = read_config(str(config))
    recipe = recipe_of(cfg)  # first, as hosts change a config when they build it
    with named(config), explain_arguments(cfg):
        model: Any = build_on_meta(cfg)
    datasets = datasets_of(cfg, 'train_dataloader')
    sizes = {training_size(dataset.get('pipeline') or ()) for dataset in datasets}
    size = sizes.pop() if len(sizes) == 1 else None
    steps = cfg.train_cfg.get('max_iters') or f'{cfg.train_cfg.max_epochs} epochs'
    return {
        'recipe': recipe,
        'steps': str(steps),
        'batch': str(cfg.train_dataloader.batch_size),
        'learning rate': str(cfg.optim_wrapper.optimizer.get('lr', '')),
        'backbone parameters': str(count_parameters(model.backbone)),
        'parameters': str(count_parameters(model)),
        'multiply-adds': str(count_macs(model, *size)) if size else '',
    }


def training_size(pipeline: Sequence[dict]) -> tuple[int, int] | None:
    """Height and width of training images, if the last crop of the pipeline sets them.

    None if there is no crop, if a step resizes after it, or if the crop is a share of
    the image or of a random size.
    """
    for step in reversed(pipeline):
        kind = step['type'].split('.')[-1]
        if 'Crop' in kind:
            size = step.get('crop_size') or step.get('scale')
            size = (size, size) if isinstance(size, int) else tuple(size or ())
            fixed = step.get('crop_type', 'absolute') == 'absolute'
            if fixed and [type(side) for side in size] == [int, int]:
                return size
            break
        if 'Resize' in kind:
            break
    return None


def recipe_of(cfg: Config) -> str:
    """A hash of the settings that decide a score, ours and the hosts'.

    Hooks, helper variables, folders and the implementation of a block may change
    without a new measurement.
    """
    settings = without({key: cfg.get(key) for key in RECIPE_KEYS}, NEUTRAL_KEYS)
    text = json.dumps(settings, sort_keys=True, default=str)
    root = (cfg.get('data_root') or '').rstrip('/') + '/'
    text = text.replace(json.dumps(root)[:-1], '"')  # where a string starts with it
    return hashlib.sha256(text.encode()).hexdigest()[:10]


@contextmanager
def named(config: Path) -> Iterator[None]:
    """Say which of several configs a ConfigError is about."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f'{config}: {error}') from None
