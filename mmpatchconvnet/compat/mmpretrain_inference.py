"""Importing this lets mmpretrain's `inference_model` take classifiers of any config.

It asks `model._metainfo` for the task of a model, which only models of mmpretrain's own
index have: a classifier of a config file has `No available inferencer for the model`.
"""

from types import SimpleNamespace
from typing import Any

from mmpretrain.models.classifiers.image import ImageClassifier

CLASSIFICATION = SimpleNamespace(results=[SimpleNamespace(task='Image Classification')])


def get_metainfo(model: Any) -> Any:
    return vars(model).get('_metainfo') or CLASSIFICATION


def set_metainfo(model: Any, metainfo: Any) -> None:
    vars(model)['_metainfo'] = metainfo


ImageClassifier._metainfo = property(get_metainfo, set_metainfo)
