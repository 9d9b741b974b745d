"""Read config files of any host and find the data sets in them."""

from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DATASETS, Registry


class ConfigError(ValueError):
    """A config that cannot work, explained in one sentence."""


def read_config(config: str) -> Config:
    """A config file, or `mmdet::NAME` for one that an installed package brings."""
    if '::' in config:
        try:
            config, _ = Config._get_cfg_path(config, '')
        except (OSError, ValueError, AssertionError, ImportError) as error:
            raise ConfigError(
                f'{config} cannot be read ({error}): give PACKAGE::FOLDER/NAME.py of '
                'an installed package, such as mmdet.'
            ) from None
    if not Path(config).is_file():
        raise ConfigError(f'{config} is not a file: give a config file.')
    cfg = Config.fromfile(config)
    drop_our_scope(cfg._cfg_dict)
    return cfg


def drop_our_scope(node: object) -> None:
    """Let the host find what is set below a base `mmpatchconvnet::`.

    mmengine would look all types there up in our registries, and warn of each kind of
    part that has none. Our configs name our types in full.
    """
    if isinstance(node, dict):
        if node.get('_scope_') == 'mmpatchconvnet':
            del node['_scope_']
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for one in node:
            drop_our_scope(one)


def datasets_of(cfg: Config, dataloader: str) -> Iterator[dict]:
    """The data sets of a dataloader, without wrappers such as `RepeatDataset`."""
    loader = cfg.get(dataloader)
    if isinstance(loader, dict):
        yield from without_wrappers(loader.get('dataset'))


def without_wrappers(dataset: object) -> Iterator[dict]:
    if isinstance(dataset, (list, tuple)):
        for one in dataset:
            yield from without_wrappers(one)
    elif isinstance(dataset, dict):
        inner = dataset.get('datasets') or dataset.get('dataset')
        if inner:
            yield from without_wrappers(inner)
        else:
            yield dataset


def resolve_type(
    settings: dict, scope: str | None, registry: Registry = DATASETS
) -> type | None:
    """The class of `type`, which is a name or, in a lazy config, the class itself."""
    kind = settings.get('type')
    if not isinstance(kind, str):
        return kind
    with registry.switch_scope_and_registry(settings.get('_scope_', scope)) as host:
        return host.get(kind)
