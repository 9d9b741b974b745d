"""Importing this lets mmpretrain's `inference_model` take classifiers of any config.

It chooses its inferencer by mmpretrain's own model index, so a classifier that was
built from a config file has none: `No available inferencer for the model`.
"""

from functools import wraps
from inspect import signature
from typing import Any

from mmengine.model import BaseModel
from mmpretrain.apis import model as host

by_index = host.inference_model


@wraps(by_index)
def inference_model(model: Any, *args: Any, **kwargs: Any) -> Any:
    from mmpretrain.apis import ImageClassificationInferencer
    from mmpretrain.models import ImageClassifier

    unknown = isinstance(model, BaseModel) and getattr(model, '_metainfo', None) is None
    if unknown and isinstance(model, ImageClassifier):
        names = signature(ImageClassificationInferencer).parameters
        settings = {name: kwargs.pop(name) for name in [*kwargs] if name in names}
        return ImageClassificationInferencer(model, **settings)(*args, **kwargs)[0]
    return by_index(model, *args, **kwargs)


host.inference_model = inference_model
