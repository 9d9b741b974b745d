"""Run a trained model on pictures: one interface for the three tasks."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from torch import nn

from mmpatchconvnet.checkpoints import load_weights
from mmpatchconvnet.checkpoints.data_only import load_checkpoint
from mmpatchconvnet.config_files import ConfigError, read_config
from mmpatchconvnet.deploy import switch_to_deploy
from mmpatchconvnet.inference.model_files import (
    InferencePipeline,
    build_model,
    find_files,
    names_and_colors,
    skip_low_scores,
)
from mmpatchconvnet.inference.pictures import Picture, PictureError
from mmpatchconvnet.inference.results import (
    Classification,
    Detection,
    Result,
    Segmentation,
)
from mmpatchconvnet.inference.sources import open_source
from mmpatchconvnet.inference.tiling import (
    Objects,
    check_tile,
    detect_tiles,
    segment_tiles,
)
from mmpatchconvnet.mask_crops import to_crop
from mmpatchconvnet.visualization.panels import to_array

Array = np.ndarray
# The host that a model's class belongs to, and what its models predict.
RESULTS: dict[str, type[Result]] = {
    'mmpretrain': Classification,
    'mmdet': Detection,
    'mmseg': Segmentation,
}


class Predictor:
    """A trained classifier, detector or segmentor that is called with pictures.

    Pictures pass the test pipeline of the config. Batches hold pictures of one size, so
    a result does not depend on the batch size.

    Args:
        model: The work dir of a training, or a config file, or `PACKAGE::NAME`.
        checkpoint: The checkpoint of a config; of a work dir by default the best one,
            if the training has kept one, or else the last one.
        device: `cpu`, `cuda`, ...; by default a GPU if torch finds one.
        deploy: Fold the model for inference and run it in this dtype: `float32`,
            `bfloat16` or `float16`; see `switch_to_deploy`.
        min_score: Objects with a lower score are left out.
        tile: Cut pictures that are larger into tiles with sides of at most so many
            pixels. Objects at the seams are merged, the logits of label maps averaged.
        overlap: Common pixels of neighbouring tiles, at most a quarter of a tile.

    Attributes:
        classes: The name of every class.
        palette: RGB 0..255 of every class, or None if the data set chooses none.

    Raises:
        ValueError: There is no such config, the checkpoint is of another model, or
            tiles cannot be merged.

    Example:
        >>> predictor = Predictor('work_dirs/mine')  # doctest: +SKIP
        >>> for result in predictor('a folder/', batch_size=4):  # doctest: +SKIP
        ...     print(result.file, result.boxes)
    """

    def __init__(
        self,
        model: str | Path,
        checkpoint: str | Path | None = None,
        *,
        device: str | None = None,
        deploy: str | None = None,
        min_score: float = 0.3,
        tile: int | None = None,
        overlap: int = 128,
    ) -> None:
        if tile is not None:
            check_tile(tile, overlap)
        config, weights = find_files(model, checkpoint)
        cfg = read_config(config)
        skip_low_scores(cfg.model, min_score)
        self.scope = cfg.get('default_scope')
        self.min_score, self.tile, self.overlap = min_score, tile, overlap
        content = load_checkpoint(weights, map_location='cpu', logger='silent')
        self.classes, self.palette = names_and_colors(cfg, content)
        with self._in_scope():
            self.model: Any = build_model(cfg)
            self.pipeline = InferencePipeline(cfg)
        self.kind = kind_of(self.model)
        if tile and self.kind is Classification:
            raise ConfigError(
                f'tile={tile} is given for a classifier, which has one class for a '
                'whole picture: leave it out.'
            )
        load_weights(self.model, weights, content=content)
        self.model.to(usable_device(device)).eval()
        if deploy:
            switch_to_deploy(self.model, getattr(torch, deploy))

    def __call__(
        self,
        source: Any,
        batch_size: int = 1,
        recursive: bool = False,
        scale: tuple[float, float] | None = None,
    ) -> Iterator[Result]:
        """Predict pictures one after the other.

        Args:
            source: A picture, folder, glob, list file, video, array or list of arrays;
                see `inference.sources`.
            batch_size: Largest number of pictures, all of one size, that run together.
            recursive: Read the folders within a folder too.
            scale: Stored values that become black and white; see `read_picture`.

        Returns:
            An iterator over a `Classification`, `Segmentation` or `Detection` for each
            picture, in order. Of a picture that cannot be read the log says why.

        Raises:
            ValueError: There is no such source, no picture in it, or a batch size
                below 1.
        """
        results = self.predict(open_source(source, recursive, scale), batch_size)
        return filter(None, (_log_error(result) for _, result in results))

    def predict(
        self, pictures: Iterable[Picture | PictureError], batch_size: int = 1
    ) -> Iterator[tuple[str, Result | PictureError]]:
        """Predict opened pictures, in order; errors pass through.

        Returns:
            An iterator over pairs: `Picture.relative` and the result, or '' and the
            error.

        Raises:
            ValueError: A batch size below 1.
        """
        if batch_size < 1:
            raise ValueError(
                f'batch_size={batch_size} is no number of pictures: give 1 or more.'
            )
        return self._predict(pictures, batch_size)

    def _predict(
        self, pictures: Iterable[Picture | PictureError], batch_size: int
    ) -> Iterator[tuple[str, Result | PictureError]]:
        batch: list[tuple[Picture, dict]] = []
        for picture in pictures:
            if isinstance(picture, PictureError):
                yield from self._predict_batch(batch)
                yield '', picture
                batch = []
            elif self.tile and max(picture.image.shape[:2]) > self.tile:
                yield from self._predict_batch(batch)
                yield picture.relative, self._predict_tiles(picture, self.tile)
                batch = []
            else:
                packed = self._prepare(picture, picture.image)
                if batch and batch[0][1]['inputs'].shape != packed['inputs'].shape:
                    yield from self._predict_batch(batch)
                    batch = []
                batch.append((picture, packed))
                if len(batch) == batch_size:
                    yield from self._predict_batch(batch)
                    batch = []
        yield from self._predict_batch(batch)

    def _predict_batch(
        self, batch: list[tuple[Picture, dict]]
    ) -> Iterator[tuple[str, Result]]:
        samples = self._run([packed for _, packed in batch])
        for (picture, _), sample in zip(batch, samples, strict=True):
            if self.kind is Classification:
                scores = to_array(sample.pred_score).astype(np.float32)
                found: tuple = int(scores.argmax()), scores
            elif self.kind is Segmentation:
                found = (_small(to_array(sample.pred_sem_seg.data).squeeze(0)),)
            else:
                found = self._objects(sample)
            yield picture.relative, self._result(picture, sample, *found)

    def _predict_tiles(self, picture: Picture, tile: int) -> Result:
        """The result of a picture that is larger than a tile."""

        def run(image: Array) -> Any:
            return self._run([self._prepare(picture, image)])[0]

        def logits_of(image: Array) -> Array:
            logits = to_array(run(image).seg_logits.data)
            if len(logits) == 1:
                raise ConfigError(
                    f'tile={tile} is given for a segmentor with one output channel, '
                    'which has a threshold instead of logits: leave it out.'
                )
            return logits

        def detect(image: Array) -> Objects:
            return self._objects(run(image))

        tiles = picture.image, tile, self.overlap
        if self.kind is Segmentation:
            label_map = _small(segment_tiles(*tiles, logits_of))
            return self._result(picture, None, label_map)
        return self._result(picture, None, *detect_tiles(*tiles, detect))

    def _result(self, picture: Picture, sample: Any, *found: Any) -> Result:
        common = picture.file, self.classes, picture.image, picture.intensity, sample
        return self.kind(*common, *found)

    def _objects(self, sample: Any) -> Objects:
        """The objects of a data sample of mmdet, by falling score."""
        instances = sample.pred_instances
        scores = to_array(instances.scores)
        order = np.argsort(-scores, kind='stable')
        order = order[scores[order] >= self.min_score]
        crops = None
        if 'masks' in instances:
            masks = to_array(instances.masks)
            crops = [to_crop(masks[index].astype(bool)) for index in order]
        labels, boxes = (to_array(x) for x in (instances.labels, instances.bboxes))
        return Objects(labels[order], scores[order], boxes[order], crops)

    def _prepare(self, picture: Picture, image: Array) -> dict:
        with self._in_scope():
            return self.pipeline(picture, image)

    def _run(self, packed: list[dict]) -> list[Any]:
        """The host's data samples of prepared pictures, on the CPU."""
        if not packed:
            return []
        with self._in_scope(), torch.inference_mode():
            samples = self.model.test_step(pseudo_collate(packed))
        return [sample.cpu() for sample in samples]

    def _in_scope(self) -> Any:
        """Let the host of the config find the types that are named without a scope."""
        return DefaultScope.overwrite_default_scope(self.scope)


def usable_device(device: str | None) -> str:
    """The device, or by default a GPU if torch finds one.

    Raises:
        ConfigError: torch has no such device here.
    """
    if device is None:
        return 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0].rstrip('.')
        raise ConfigError(
            f'device={device} cannot be used ({reason}): give cpu, or leave it out.'
        ) from None
    return device


def kind_of(model: nn.Module) -> type[Result]:
    """What a model predicts: the host of its class, or of a base of it, tells.

    Raises:
        ConfigError: It is no classifier, detector or segmentor of a host.
    """
    for base in type(model).__mro__:
        host = base.__module__.partition('.')[0]
        if host in RESULTS:
            return RESULTS[host]
    raise ConfigError(
        f'{type(model).__name__} is no model of {", ".join(RESULTS)}: give the config '
        'of a classifier, detector or segmentor.'
    )


def _log_error(result: Result | PictureError) -> Result | None:
    if isinstance(result, PictureError):
        print_log(str(result), 'current', level=logging.ERROR)
        return None
    return result


def _small(label_map: Array) -> Array:
    """The same classes as uint8, if they fit, or int32."""
    small = not label_map.size or label_map.max() < 256
    return label_map.astype(np.uint8 if small else np.int32)
