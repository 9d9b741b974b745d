"""The checks of data that run before every training and test.

All annotations are looked at, but for the limits of `coco_pictures.MAX_BYTES`. At most
`layout.MAX_LOOKED_FOR` files of a data set must exist, and `layout.MAX_OPENED` are
opened. `mmpatchconvnet check` looks at all of them.
"""

from collections.abc import Iterable, Iterator

from mmengine.config import Config

from mmpatchconvnet.data_checks.class_folders import ClassFolders, class_folders
from mmpatchconvnet.data_checks.coco_pictures import CocoFile
from mmpatchconvnet.data_checks.findings import Findings
from mmpatchconvnet.data_checks.label_maps import LabelMaps
from mmpatchconvnet.data_checks.layout import Layout
from mmpatchconvnet.data_checks.sources import DataSource, sources_of

LAYOUTS = (CocoFile, LabelMaps, ClassFolders)


def check_data(cfg: Config, dataloaders: Iterable[str]) -> list[Findings]:
    """The faults of the data of some dataloaders.

    Data that the checks cannot read, such as remote data, data sets that download
    themselves or that load by methods of their own, have none.
    """
    sources = [one for name in dataloaders for one in sources_of(cfg, name)]
    layouts = [one for source in sources if (one := layout_of(source))]
    return [one.check() for one in layouts] + list(check_together(sources))


def layout_of(source: DataSource, whole: bool = False) -> Layout | None:
    """The layout of a data set, None if it cannot be checked; see `Layout`."""
    return next((one(source, whole) for one in LAYOUTS if one.fits(source)), None)


def check_together(sources: list[DataSource]) -> Iterator[Findings]:
    """What is wrong between the data sets of training and the others."""
    for training in sources:
        for other in sources:
            if training.training and not other.training:
                yield compare(training, other)


def compare(training: DataSource, other: DataSource) -> Findings:
    """Pictures must differ, and folders be the same classes."""
    findings = Findings('')
    keys = ('ann_file', 'data_root', 'data_prefix', 'indices', 'split')
    if not training.is_local:
        return findings  # a data set of its own may choose its files otherwise
    if all(training.settings.get(key) == other.settings.get(key) for key in keys):
        findings.warnings.append(
            f'{other.name} reads the pictures of {training.name}: its scores say '
            'nothing about new pictures, so give it others.'
        )
    elif not training.classes and all(map(ClassFolders.fits, (training, other))):
        ours, theirs = (
            class_folders(one.folder('img_path')) for one in (training, other)
        )
        if ours != theirs:
            differing = sorted({*ours} ^ {*theirs})
            findings.errors.append(
                f'{training.name} and {other.name} number their folders separately, '
                f'and only one of them has {differing[0]!r}: give both the same '
                'folders, which may be empty.'
            )
    return findings
