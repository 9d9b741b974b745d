"""What a backbone makes of a picture, and where its cells lie in it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mmengine.dataset import pseudo_collate
from torch import Tensor

from mmpatchconvnet.attention.cells import watch_steps
from mmpatchconvnet.attention.placement import Placement, prepare
from mmpatchconvnet.inference.model_files import InferencePipeline
from mmpatchconvnet.inference.pictures import Picture


def inputs_of(
    module: Any, pipeline: InferencePipeline, picture: Picture
) -> tuple[Tensor, Placement]:
    """A picture as the model's input, (1, 3, H, W), and where it lies in the picture.

    Raises:
        ConfigError: A step of the pipeline cannot be followed; see `prepare`.
    """
    data, placement = prepare(pipeline, picture)
    batch = module.data_preprocessor(pseudo_collate([data]), False)
    return batch['inputs'], placement


def features_of(
    module: Any, inputs: Tensor, placement: Placement
) -> tuple[Sequence[Tensor], Placement]:
    """The maps of the backbone, and where the cells of the last one lie.

    Args:
        module: A model with a `backbone`.
        inputs: Of `inputs_of`.
        placement: The same.
    """
    with watch_steps(module.backbone) as steps:
        features = module.backbone(inputs)
    if isinstance(features, Tensor):
        features = [features]
    cells = features[-1].shape[-2], features[-1].shape[-1]
    row, column = steps.axes(inputs.shape[-2:], cells)
    return features, replace(placement, row=row, column=column, cells=cells)
