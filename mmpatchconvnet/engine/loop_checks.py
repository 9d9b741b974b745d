"""Checks that the loop of a training and the order of its data fit together."""

from mmengine.config import Config
from mmengine.registry import DATA_SAMPLERS, LOOPS
from mmengine.runner import EpochBasedTrainLoop

from mmpatchconvnet.config_files import ConfigError, resolve_type

# By name, as mmdet may not be installed; their length is that of the data set.
ENDLESS = ('InfiniteSampler', 'MultiSourceSampler')


def check_train_loop(cfg: Config) -> None:
    """Raise if the loop counts epochs and the sampler never ends one.

    Raises:
        ConfigError: With both remedies.
    """
    loop = cfg.get('train_cfg') or {}
    loader = cfg.get('train_dataloader')
    if not isinstance(loader, dict):
        return
    scope = cfg.get('default_scope')
    kind = resolve_type(loop, scope, LOOPS) if 'type' in loop else None
    by_epoch = loop.get('by_epoch') or (
        isinstance(kind, type) and issubclass(kind, EpochBasedTrainLoop)
    )
    for part in ('sampler', 'batch_sampler'):
        settings = loader.get(part) or {}
        if by_epoch and isinstance(settings, dict) and never_ends(settings, scope):
            raise ConfigError(
                f'train_cfg counts epochs, but {settings["type"]} of '
                f'train_dataloader.{part} never ends one: set '
                'train_dataloader.sampler=dict(type="DefaultSampler", shuffle=True) '
                'to train by epochs, or train_cfg=dict(type="IterBasedTrainLoop", '
                'max_iters=...) to train by steps.'
            )


def never_ends(settings: dict, scope: str | None) -> bool:
    """Whether a sampler of mmengine or mmdet, or a subclass of one, is endless."""
    kind = resolve_type(settings, scope, DATA_SAMPLERS)
    names = {base.__name__ for base in getattr(kind, '__mro__', ())}
    return not names.isdisjoint(ENDLESS)
