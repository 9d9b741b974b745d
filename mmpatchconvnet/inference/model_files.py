"""What the files of a training say: the checkpoint, the classes and the pipeline."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose

from mmpatchconvnet.config_files import ConfigError, datasets_of, resolve_type
from mmpatchconvnet.inference.exported_files import ENDINGS
from mmpatchconvnet.inference.pictures import Picture
from mmpatchconvnet.visualization.sheets import chosen_palette


def config_and_checkpoint(
    model: str | Path, checkpoint: str | Path | None
) -> tuple[str, str]:
    """The config and the checkpoint of a work dir, or those that were given.

    Raises:
        ConfigError: The work dir holds no config, several ones, or no checkpoint.
    """
    folder = Path(model)
    if not folder.is_dir():
        if folder.suffix in ENDINGS:
            raise ConfigError(
                f'{model} is exported already: give the work dir of a training, or a '
                'config and a checkpoint.'
            )
        if checkpoint is None:
            fault = 'came without a checkpoint' if folder.exists() else 'does not exist'
            raise ConfigError(
                f'{model} {fault}: give the work dir of a training, or a config and a '
                'checkpoint.'
            )
        return str(model), str(checkpoint)
    configs = sorted(folder.glob('*.py'))
    if len(configs) != 1:
        raise ConfigError(
            f'{folder} holds {len(configs)} config files (*.py), not one: give the '
            'config and the checkpoint instead.'
        )
    return str(configs[0]), str(checkpoint or newest_checkpoint(folder))


def newest_checkpoint(folder: Path) -> Path:
    """The best checkpoint of a work dir, if one was kept, or else the last one.

    Raises:
        ConfigError: There is none.
    """
    found = list(folder.glob('*.pth'))
    if not found:
        raise ConfigError(f'{folder} holds no checkpoint (*.pth): give one.')
    # Times do not survive every copy of a folder, but steps and epochs in names do.
    return max(found, key=lambda path: (path.name.startswith('best_'), *_step(path)))


def _step(path: Path) -> tuple[int, float]:
    """The epoch or iteration that a checkpoint is named after; its time if none."""
    found = re.search(r'(?:epoch|iter)_(\d+)$', path.stem)
    return int(found[1]) if found else -1, path.stat().st_mtime


def names_and_colors(cfg: Config, checkpoint: Any) -> tuple[list[str], Any]:
    """The classes and the palette of a model: those it was trained with.

    They are in the checkpoint's `meta`, or else in the config or the class of its data
    set. The palette is None if none was chosen.

    Raises:
        ConfigError: The classes are named nowhere.
    """
    for meta in _metas(cfg, checkpoint):
        # mmengine's first versions have written the names in capitals.
        named = {key.lower(): value for key, value in (meta or {}).items()}
        if named.get('classes') is not None:
            named['classes'] = list(map(str, np.atleast_1d(named['classes'])))
            return named['classes'], chosen_palette(named)
    raise ConfigError(
        'neither the checkpoint nor the config names the classes: add '
        "metainfo=dict(classes=(...)) to the config's test data set."
    )


def _metas(cfg: Config, checkpoint: Any) -> Iterator[Any]:
    """What may hold classes and a palette, the best first."""
    if isinstance(checkpoint, Mapping):
        yield (checkpoint.get('meta') or {}).get('dataset_meta')
    for dataset in datasets_of(cfg, 'test_dataloader'):
        yield dataset.get('metainfo')
        dataset_class: Any = resolve_type(dataset, cfg.get('default_scope'))
        yield getattr(dataset_class, 'METAINFO', None)


class InferencePipeline:
    """The test pipeline of a config, called with a `Picture` and without annotations.

    Its own loader is left out where it would read the same pixels, so that every format
    and every array passes. A loader of another type or with other settings is kept: it
    reads the file of the picture.

    Attributes:
        settings: The settings of its steps.
        keeps_loader: Whether the first one is a loader.
    """

    def __init__(self, cfg: Config) -> None:
        datasets = list(datasets_of(cfg, 'test_dataloader'))
        if not datasets or not datasets[0].get('pipeline'):
            raise ConfigError(
                'the config has no test_dataloader with a pipeline: add one to say how '
                'pictures are prepared.'
            )
        steps = [
            s for s in datasets[0]['pipeline'] if 'Annotation' not in kind_of_step(s)
        ]
        loader = steps[0]
        self.as_float = loader.get('to_float32', False)
        self.keeps_loader = kind_of_step(loader) != 'LoadImageFromFile' or (
            loader.get('color_type', 'color') != 'color'
            or loader.get('imdecode_backend', 'cv2') != 'cv2'
        )
        self.settings = steps if self.keeps_loader else steps[1:]
        self.steps = Compose(self.settings)

    def begin(self, picture: Picture, image: np.ndarray) -> dict:
        """What the first of `steps` is called with.

        Raises:
            ConfigError: The config's loader needs a file, and there is none.
        """
        shape = image.shape[:2]
        data = dict(img_path=picture.file, img_id=0)
        if not self.keeps_loader:
            if self.as_float:
                image = image.astype(np.float32)
            data.update(img=image, img_shape=shape, ori_shape=shape)
        elif image is not picture.image or not Path(picture.file).is_file():
            raise ConfigError(
                'the loader of this config reads files only, neither arrays, frames '
                'nor tiles: use LoadImageFromFile with color_type="color" in it.'
            )
        return data

    def __call__(self, picture: Picture, image: np.ndarray) -> dict:
        """Prepare a picture, or an `image` cut out of it, (H, W, 3) uint8 BGR.

        Raises:
            ConfigError: The config's loader cannot read the picture as it is.
        """
        prepared = self.steps(self.begin(picture, image))
        shape = image.shape[:2]
        seen = prepared['data_samples'].get('ori_shape', shape)
        check_shape(picture.file, tuple(seen), shape)
        return prepared


def check_shape(file: str, seen: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Raise `ConfigError` if a loader has seen another (height, width) than ours."""
    if seen != shape:
        raise ConfigError(
            f'the loader of this config reads {file} with {seen} pixels (height, '
            f'width), which has {shape} by its EXIF rotation: use LoadImageFromFile '
            'with color_type="color" in it.'
        )


def kind_of_step(step: dict) -> str:
    """The type of a pipeline step, without its scope."""
    kind: Any = step['type']
    return (kind if isinstance(kind, str) else kind.__name__).split('.')[-1]
