"""The step to measure: a part of a model, forward or forward and backward."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmpatchconvnet.deploy import set_compute_dtype
from mmpatchconvnet.experiments.benchmark.batches import batch_of
from mmpatchconvnet.experiments.complexity import count_macs, count_parameters
from mmpatchconvnet.models.pyramids import Pyramid


@dataclass(frozen=True)
class Setting:
    """What is measured for every model.

    Attributes:
        task: `classifier`, `detector` or `segmentor`.
        part: One of `PARTS`. Its loss in training is the mean square of its maps.
        training: Forward and backward of a step without the optimizer, else inference.
        batch: Number of images.
        size: Their height and width, in pixels.
        device: `cpu` or `cuda`.
    """

    task: str
    part: str
    training: bool
    batch: int
    size: tuple[int, int]
    device: str


def build_step(
    model: nn.Module, scope: str, modes: list[str], setting: Setting
) -> Callable[[], None]:
    """A function that runs the model once with this setting.

    Args:
        model: Of any host; it is moved to the device.
        scope: The host: `mmpretrain`, `mmdet` or `mmseg`.
        modes: Of these, `nhwc`, `bf16` and `compile` are applied here.
        setting: Part, pass, batch, size and device.
    """
    part, training, device = setting.part, setting.training, setting.device
    layout = torch.channels_last if 'nhwc' in modes else torch.contiguous_format
    model.to(device).train(training)
    if 'nhwc' in modes:  # otherwise unchanged: a folded column has its own layout
        model.to(memory_format=layout)
    if 'compile' in modes:
        compile_backbone(model)
    half = 'bf16' in modes
    mixed = half and 'deploy' in modes and part in ('features', 'model')
    if mixed:  # the model keeps some parts in float32
        set_compute_dtype(model, torch.bfloat16)
    forward: Callable[[], Any]
    if part == 'model':
        forward = model_step(
            model, batch_of(scope, setting.batch, *setting.size), training, layout
        )
    else:
        dtype = torch.bfloat16 if half and not mixed else torch.float32
        images = torch.randn(setting.batch, 3, *setting.size).to(device, dtype)
        images = images.to(memory_format=layout)
        maps = part_function(model if mixed else model.to(dtype), part)
        forward = (
            (lambda: mean_square(maps(images))) if training else lambda: maps(images)
        )
    autocast = half and part == 'model' and not mixed

    def run() -> None:
        with (
            torch.autocast(device, torch.bfloat16, enabled=autocast),
            torch.inference_mode(not training),
        ):
            result: Any = forward()
        if training:
            model.zero_grad(set_to_none=True)
            result.backward()

    return run


def compile_backbone(model: Any) -> None:
    """Compile a column block by block: all blocks share one compiled graph."""
    blocks = getattr(model.backbone, 'blocks', None)
    for module in [model.backbone] if blocks is None else blocks:
        module.compile()


def model_step(
    model: Any, batch: dict, training: bool, layout: torch.memory_format
) -> Callable[[], Any]:
    """A function for predictions or losses of a batch, which is preprocessed here."""
    batch = model.data_preprocessor(batch, training)
    batch['inputs'] = batch['inputs'].to(memory_format=layout)
    if training:
        return lambda: model.parse_losses(model(**batch, mode='loss'))[0]
    return lambda: model(**batch, mode='predict')


def part_function(model: Any, part: str) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """The function from images to the maps of a part."""
    neck = getattr(model, 'neck', None)
    pyramid = neck[0] if isinstance(neck, nn.Sequential) else neck
    if part == 'features':
        return model.extract_feat
    if part == 'pyramid' and isinstance(pyramid, Pyramid):
        return lambda images: pyramid(model.backbone(images))
    return model.backbone


def mean_square(maps: tuple[Tensor, ...]) -> Tensor:
    """A loss that gives every map a gradient."""
    return torch.stack([x.float().square().mean() for x in maps]).sum()


def count_costs(model: nn.Module, part: str, size: tuple[int, int]) -> tuple[int, int]:
    """Parameters of the model, and multiply-adds of a part for one image.

    Convolutions and matrix products are counted, but not norms, activations, resizing,
    RoIAlign and NMS.
    """
    model = deepcopy(model).to('meta').eval().requires_grad_(False)
    parameters = count_parameters(model)
    if part == 'model':
        return parameters, count_macs(model, *size)
    counter = FlopCounterMode(display=False)
    with counter, torch.device('meta'), torch.no_grad():
        part_function(model, part)(torch.empty(1, 3, *size))
    return parameters, counter.get_total_flops() // 2
