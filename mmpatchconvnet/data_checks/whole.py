"""Decode every file of the data of a config, for `mmpatchconvnet check`."""

from collections.abc import Callable

from mmengine.config import Config

from mmpatchconvnet.data_checks.findings import Findings
from mmpatchconvnet.data_checks.layout import Layout, Track
from mmpatchconvnet.data_checks.quick import check_together, layout_of
from mmpatchconvnet.data_checks.sources import DataSource, sources_of


def loaders_of(cfg: Config) -> list[str]:
    """The dataloaders of a config whose data differ."""
    names: list[str] = []
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name) or {}
        seen = [(cfg.get(one) or {}).get('dataset') for one in names]
        if loader.get('dataset') and loader['dataset'] not in seen:
            names.append(name)
    return names


def check_everything(
    cfg: Config, track: Callable[[DataSource], Track]
) -> tuple[list[Layout | DataSource], list[Findings]]:
    """Check all data of a config, each file decoded as a whole.

    Args:
        cfg: A config of any host.
        track: Gives, for a data set, what wraps its list of files to show progress.

    Returns:
        The layout of each data set with its findings, or the data set if it has none
        that can be checked; and what is wrong between data sets.
    """
    sources = [one for name in loaders_of(cfg) for one in sources_of(cfg, name)]
    checked: list[Layout | DataSource] = []
    for source in sources:
        layout = layout_of(source, whole=True)
        if layout:
            layout.check(track(source))
        checked.append(layout or source)
    return checked, list(check_together(sources))
