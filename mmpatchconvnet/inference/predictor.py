"""Run a trained model on pictures: one interface for the three tasks."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mmpatchconvnet.inference.exported_files import ENDINGS
from mmpatchconvnet.inference.exported_model import ExportedModel
from mmpatchconvnet.inference.pictures import Picture, PictureError
from mmpatchconvnet.inference.results import (
    Classification,
    Objects,
    Result,
    Segmentation,
)
from mmpatchconvnet.inference.sources import open_source
from mmpatchconvnet.inference.tiling import (
    check_tile,
    detect_tiles,
    segment_tiles,
    usual_overlap,
)

Array = np.ndarray
log = logging.getLogger(__name__)


class Model(Protocol):
    """What a `Predictor` calls; `prepare` returns a dict with `inputs`, an array."""

    kind: type[Result]
    classes: Sequence[str]
    palette: Any

    def prepare(self, picture: Picture, image: Array) -> dict[str, Any]: ...

    def run(self, batch: list[dict[str, Any]]) -> list[tuple[tuple, Any]]: ...

    def logits(self, prepared: dict[str, Any]) -> Array: ...


class Predictor:
    """A trained classifier, detector or segmentor that is called with pictures.

    Pictures pass the test pipeline of the config. Batches hold pictures of one size, so
    a result does not depend on the batch size.

    Args:
        model: The work dir of a training, or a config file, or `PACKAGE::NAME`; or an
            file that `mmpatchconvnet export` wrote; ONNX files run without PyTorch.
        checkpoint: The checkpoint of a config; of a work dir by default the best one,
            if the training has kept one, or else the last one.
        device: `cpu`, `cuda`, ...; by default a GPU if torch finds one.
        deploy: Fold the model for inference and run it in this dtype: `float32`,
            `bfloat16` or `float16`; see `switch_to_deploy`.
        min_score: Objects with a lower score are left out, 0..1. The config's own
            threshold, 0.05 in mmdet, holds as well.
        tile: Cut pictures that are larger into tiles with sides of at most so many
            pixels. Objects at the seams are merged, the logits of label maps averaged.
        overlap: Common pixels of neighbouring tiles, at most a quarter of a tile; by
            default 128, or a quarter of a smaller tile. With 0 nothing is merged.

    Attributes:
        kind: What the model predicts: `Classification`, `Segmentation`, `Detection`.
        classes: The name of every class.
        palette: RGB 0..255 of every class, or None if the data set chooses none.

    Raises:
        ValueError: There is no such config, it needs a host that is not installed, the
            checkpoint is of another model, or an argument is out of its range.
        MemoryError: At a call: the device has too little memory for the batch.

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
        overlap: int | None = None,
    ) -> None:
        if not 0 <= min_score <= 1:
            raise ValueError(f'min_score={min_score:g} is no score: give 0 to 1.')
        if tile is not None:
            overlap = usual_overlap(tile) if overlap is None else overlap
            check_tile(tile, overlap)
        self.tile, self.overlap = tile, overlap or 0
        self.model = open_model(model, checkpoint, device, deploy, min_score)
        self.kind, self.classes = self.model.kind, self.model.classes
        self.palette = self.model.palette
        if tile and self.kind is Classification:
            raise ValueError(
                f'tile={tile} is given for a classifier, which has one class for a '
                'whole picture: leave it out.'
            )

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
                packed = self.model.prepare(picture, picture.image)
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
        found = self.model.run([packed for _, packed in batch]) if batch else []
        for (picture, _), (fields, sample) in zip(batch, found, strict=True):
            yield picture.relative, self._result(picture, fields, sample)

    def _predict_tiles(self, picture: Picture, tile: int) -> Result:
        """The result of a picture that is larger than a tile."""

        def logits_of(image: Array) -> Array:
            logits = self.model.logits(self.model.prepare(picture, image))
            if len(logits) == 1:
                raise ValueError(
                    f'tile={tile} is given for a segmentor with one output channel, '
                    'which has a threshold instead of logits: leave it out.'
                )
            return logits

        def detect(image: Array) -> Objects:
            ((fields, _),) = self.model.run([self.model.prepare(picture, image)])
            return Objects(*fields)

        tiles = picture.image, tile, self.overlap
        if self.kind is Segmentation:
            return self._result(picture, (segment_tiles(*tiles, logits_of),))
        return self._result(picture, detect_tiles(*tiles, detect))

    def _result(self, picture: Picture, fields: tuple, sample: Any = None) -> Result:
        common = picture.file, self.classes, picture.image, picture.intensity, sample
        result = self.kind(*common, *fields)
        if isinstance(result, Segmentation):
            highest = max(len(self.classes) - 1, result.label_map.max(initial=0))
            dtype = np.uint8 if highest < 256 else np.int32
            result.label_map = result.label_map.astype(dtype)
        return result


def open_model(
    model: str | Path,
    checkpoint: str | Path | None,
    device: str | None,
    deploy: str | None,
    min_score: float,
) -> Model:
    """The model of a training or of an exported file; see `Predictor`.

    Raises:
        ValueError: The model cannot be opened.
    """
    if Path(model).suffix not in ENDINGS:
        # Imports PyTorch and a host, which exported files do without.
        from mmpatchconvnet.inference.host_model import HostModel

        return HostModel(model, checkpoint, device, deploy, min_score)
    if checkpoint is not None or deploy is not None:
        given = 'a checkpoint' if checkpoint is not None else f'deploy={deploy}'
        raise ValueError(
            f'{given} is given with {model}, which has its weights, folded already: '
            'leave it out.'
        )
    return ExportedModel(model, device, min_score)


def _log_error(result: Result | PictureError) -> Result | None:
    if isinstance(result, PictureError):
        log.error(result)
        return None
    return result
