"""The picture of a data sample, read as the pipeline of its data set reads it."""

from typing import Any

import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile

from mmpatchconvnet.visualization.display import to_display


def read_sample_picture(dataset: Any, path: str) -> np.ndarray:
    """The stored picture as the model's pipeline loads it: backend, bands, orientation.

    Args:
        dataset: The data set, also in wrappers. Without a pipeline, OpenCV reads.
        path: The `img_path` of a sample.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        Exception: Whatever the pipeline raises.
    """
    sample: Any = dict(img_path=path)
    for step in pipeline_steps(dataset):
        sample = step(sample)
        if 'img' in sample:
            return to_display(np.asarray(sample['img']), reverse=gives_bgr(step))
    return mmcv.imread(path, channel_order='rgb')


def pipeline_steps(dataset: Any) -> list[Any]:
    """The transforms of a data set, or of the first one in its wrappers."""
    while not hasattr(dataset, 'pipeline'):
        wrapped = getattr(dataset, 'datasets', [getattr(dataset, 'dataset', None)])
        if wrapped[0] is None:
            return []
        dataset = wrapped[0]
    return getattr(dataset.pipeline, 'transforms', [])


def gives_bgr(step: Any) -> bool:
    """Whether a transform that loads a picture gives OpenCV's order of colours."""
    return isinstance(step, LoadImageFromFile) and step.imdecode_backend != 'tifffile'
