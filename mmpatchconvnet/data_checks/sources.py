"""What a config says about one data set."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.fileio import list_dir_or_file, list_from_file
from mmengine.registry import TRANSFORMS

from mmpatchconvnet.config_files import ConfigError, datasets_of, resolve_type

# Modules whose transforms do not change labels.
LABEL_PRESERVING = ('mmseg.', 'mmcv.', 'mmpatchconvnet.')


@dataclass
class DataSource:
    """One data set of a config.

    Attributes:
        settings: Its dict in the config.
        kind: Its class, None if that is unknown.
        name: Its dataloader.
        cfg: The config.
        evaluators: The metrics of its dataloader.
        is_part: Whether its dataloader reads others too.
    """

    settings: dict
    kind: type | None
    name: str
    cfg: Config
    evaluators: list[dict] = field(default_factory=list)
    is_part: bool = False

    @property
    def training(self) -> bool:
        """Whether a model is trained on it."""
        return self.name == 'train_dataloader'

    @property
    def scope(self) -> str | None:
        """The host that builds it."""
        return self.settings.get('_scope_') or self.cfg.get('default_scope')

    @property
    def root(self) -> str:
        """Its data_root, '' if there is none."""
        return self.settings.get('data_root') or ''

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The classes that the config sets."""
        return classes_of(self.settings, None)

    @property
    def known(self) -> tuple[str, ...]:
        """The classes of its class, such as those of ADE20K."""
        return tuple(getattr(self.kind, 'METAINFO', {}).get('classes') or ())

    @property
    def is_local(self) -> bool:
        """Whether the data must already be on a local disk."""
        return is_local(self.settings, self.kind)

    def folder(self, *keys: str) -> Path:
        """The folder of a part of `data_prefix`, by the first of these keys that is
        set."""
        prefix = self.settings.get('data_prefix') or ''
        if isinstance(prefix, dict):
            prefix = next((prefix[key] for key in keys if prefix.get(key)), '')
        return Path(self.root, prefix)

    def loads_by(self, name: str, *methods: str) -> bool:
        """Whether it loads its data by `load_data_list`, and other methods, of this
        class of a host.

        A subclass with its own method may number the labels in another order, or read
        other fields, as `CocoPanopticDataset` does.
        """
        return all(
            getattr(getattr(self.kind, method, None), '__qualname__', '')
            == f'{name}.{method}'
            for method in ('load_data_list', *methods)
        )

    def step(self, kind: str) -> dict:
        """The first step of the pipeline of a type, without its scope; {} if none."""
        for one in self.settings.get('pipeline') or []:
            name = one.get('type')
            name = name if isinstance(name, str) else getattr(name, '__name__', '')
            if name.split('.')[-1] == kind:
                return one
        return {}

    def orients(self) -> bool:
        """Whether its pictures are turned by their EXIF orientation when loaded."""
        step = self.step('LoadImageFromFile')
        color, backend = step.get('color_type', 'color'), step.get('imdecode_backend')
        if backend in ('tifffile', 'turbojpeg'):
            return False
        if backend == 'pillow':
            return color in ('color', 'grayscale')
        return color != 'unchanged' and 'ignore_orientation' not in color

    def keeps_8_bits(self) -> bool:
        """Whether OpenCV reads its pictures as values of 8 bits."""
        step = self.step('LoadImageFromFile')
        color, backend = step.get('color_type', 'color'), step.get('imdecode_backend')
        return bool(step) and color != 'unchanged' and backend in (None, 'cv2')

    def labels_stay_unchanged(self) -> bool:
        """Whether the host's own steps alone read and keep the labels of a map."""
        steps = self.settings.get('pipeline') or []
        kinds = [resolve_type(step, self.scope, TRANSFORMS) for step in steps]
        return all(
            getattr(kind, '__module__', '').startswith(LABEL_PRESERVING)
            for kind in kinds
        )


def sources_of(cfg: Config, dataloader: str) -> Iterator[DataSource]:
    """The data sets of a dataloader, without wrappers such as `RepeatDataset`."""
    metrics = cfg.get(dataloader.replace('_dataloader', '_evaluator')) or []
    metrics = metrics if isinstance(metrics, (list, tuple)) else [metrics]
    evaluators = [one for one in metrics if isinstance(one, dict)]
    parts = list(datasets_of(cfg, dataloader))
    for settings in parts:
        kind = resolve_type(settings, cfg.get('default_scope'))
        is_part = len(parts) > 1
        yield DataSource(settings, kind, dataloader, cfg, evaluators, is_part)


def is_local(dataset: dict, dataset_class: type | None) -> bool:
    """Whether the data must already be on a local disk."""
    downloads = dataset_class is not None and (
        'download' in inspect.signature(dataset_class).parameters
    )
    # Of the data set, or of a step that loads pictures from elsewhere.
    remote = any(find_settings('backend_args', dataset))
    return not (downloads or remote or '://' in (dataset.get('data_root') or ''))


def classes_of(dataset: dict, dataset_class: type | None) -> tuple[str, ...] | None:
    """The classes in the settings of a data set, or else the defaults of its class."""
    given = (dataset.get('metainfo') or {}).get('classes') or dataset.get('classes')
    if isinstance(given, str):  # the data set reads a file of names
        if '://' in given:
            return None
        if Path(given).expanduser().is_file():
            return tuple(read_lines(Path(given).expanduser()))
        raise ConfigError(
            f'classes={given!r} is not a file of class names: write ({given!r},) for a '
            'single class.'
        )
    if given is None:
        given = getattr(dataset_class, 'METAINFO', {}).get('classes')
    return None if given is None else tuple(given)


def read_lines(path: Path) -> list[str]:
    """The lines of a file as the hosts read them; raises `ConfigError` if not UTF-8."""
    try:
        return list_from_file(path)
    except UnicodeDecodeError:
        raise ConfigError(
            f'{str(path)!r} is not text in UTF-8: save it as UTF-8.'
        ) from None


def list_files_below(folder: Path, suffix: str | None = None) -> list[str]:
    """The paths below a folder, as the hosts list them, in alphabetical order.

    Raises:
        ConfigError: One cannot be followed, such as a link to itself.
    """
    try:
        return sorted(list_dir_or_file(folder, False, suffix=suffix, recursive=True))
    except OSError as error:
        raise ConfigError(
            f'{str(error.filename)!r} cannot be read ({error.strerror}): remove it, as '
            'it ends the listing of its folder.'
        ) from None


def find_settings(name: str, node: object) -> Iterator[Any]:
    """The values of a key, anywhere in nested dicts, lists and tuples."""
    if isinstance(node, dict):
        if name in node:
            yield node[name]
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for one in node:
            yield from find_settings(name, one)
