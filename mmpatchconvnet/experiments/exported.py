"""Score and time models on the test set of a config, exported files among them."""

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS, DefaultScope
from mmengine.structures import InstanceData, PixelData

from mmpatchconvnet.config_files import ConfigError, datasets_of
from mmpatchconvnet.inference.pictures import PictureError, read_picture
from mmpatchconvnet.inference.predictor import Predictor
from mmpatchconvnet.inference.results import (
    Classification,
    Detection,
    Result,
    Segmentation,
)


def score(cfg: Config, predictors: Sequence[Predictor]) -> list[dict[str, float]]:
    """Predict the test set of a config by models in turns.

    Args:
        cfg: A config with a test data set and an evaluator.
        predictors: The models; of detectors with `min_score=0`.

    Returns:
        For each model the scores of the evaluator, and `pictures_a_second`, from the
        median time of a picture after it was read.

    Raises:
        ValueError: A picture that cannot be read.
    """
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        data = DATASETS.build(next(datasets_of(cfg, 'test_dataloader')))
        evaluators = [Evaluator(cfg.test_evaluator) for _ in predictors]
        seconds: list[list[float]] = [[] for _ in predictors]
        for index in range(len(data)):
            picture = read_picture(path_of(data.get_data_info(index)))
            for number, predictor in enumerate(predictors):
                evaluators[number].dataset_meta = data.metainfo
                start = time.perf_counter()
                ((_, result),) = predictor.predict([picture])
                seconds[number].append(time.perf_counter() - start)
                if isinstance(result, PictureError):
                    raise result
                sample = to_sample(result, data[index]['data_samples'])
                evaluators[number].process([sample])
        return [
            {**evaluator.evaluate(len(data)), 'pictures_a_second': 1 / median(times)}
            for evaluator, times in zip(evaluators, seconds, strict=True)
        ]


def path_of(info: dict[str, Any]) -> str:
    if 'img_path' not in info:
        raise ConfigError(
            'the test data set has no picture files (img_path): exported models are '
            'scored on files.'
        )
    return info['img_path']


def to_sample(result: Result, truth: Any) -> Any:
    """The host's data sample of a picture with the result as its prediction."""
    if isinstance(result, Classification):
        truth.set_pred_score(torch.from_numpy(result.scores))
        truth.set_pred_label(result.label)
    elif isinstance(result, Detection):
        fields = dict(labels=result.labels, scores=result.scores, bboxes=result.boxes)
        truth.pred_instances = InstanceData(
            **{name: torch.from_numpy(value) for name, value in fields.items()}
        )
        if result.crops is not None:
            truth.pred_instances.masks = torch.from_numpy(result.masks)
    elif isinstance(result, Segmentation):
        label_map = torch.from_numpy(result.label_map.astype(np.int64))
        truth.pred_sem_seg = PixelData(data=label_map[None])
    return truth
