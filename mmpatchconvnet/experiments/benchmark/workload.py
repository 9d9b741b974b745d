"""What is run of a model: a part of it, forward or forward and backward."""

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
    """What is measured of every model.

    Attributes:
        task: `classifier`, `detector` or `segmentor`.
        part: One of `PARTS`. Training a part takes the squares of its maps as loss.
        training: Forward and backward of a step without the optimizer, else inference.
        batch: Images at a time.
        size: Their height and width, in pixels.
        device: `cpu` or `cuda`.
    """

    task: str
    part: str
    training: bool
    batch: int
    size: tuple[int, int]
    device: str


def make_pass(
    model: nn.Module, scope: str, modes: list[str], setting: Setting
) -> Callable[[], None]:
    """A function that runs the model once, as the setting says.

    Args:
        model: Of any host; it is moved to the device.
        scope: The host: `mmpretrain`, `mmdet` or `mmseg`.
        modes: `nhwc`, `bf16` and `compile` count here.
        setting: Part, pass, batch, size and device.
    """
    part, training, device = setting.part, setting.training, setting.device
    layout = torch.channels_last if 'nhwc' in modes else torch.contiguous_format
    model.to(device).train(training)
    if 'nhwc' in modes:  # else as it is: a folded column has a layout of its own
        model.to(memory_format=layout)
    if 'compile' in modes:
        compile_backbone(model)
    half = 'bf16' in modes
    mixed = half and 'deploy' in modes and part in ('features', 'model')
    if mixed:  # the model itself says what stays in float32
        set_compute_dtype(model, torch.bfloat16)
    forward: Callable[[], Any]
    if part == 'model':
        forward = whole_model(
            model, batch_of(scope, setting.batch, *setting.size), training, layout
        )
    else:
        dtype = torch.bfloat16 if half and not mixed else torch.float32
        images = torch.randn(setting.batch, 3, *setting.size).to(device, dtype)
        images = images.to(memory_format=layout)
        maps = maps_of(model if mixed else model.to(dtype), part)
        forward = (lambda: squares(maps(images))) if training else lambda: maps(images)
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
    """Compile a column block by block: one block's code serves them all."""
    blocks = getattr(model.backbone, 'blocks', None)
    for module in [model.backbone] if blocks is None else blocks:
        module.compile()


def whole_model(
    model: Any, batch: dict, training: bool, layout: torch.memory_format
) -> Callable[[], Any]:
    """Predictions of a batch, or the sum of its losses; preparing it is not timed."""
    batch = model.data_preprocessor(batch, training)
    batch['inputs'] = batch['inputs'].to(memory_format=layout)
    if training:
        return lambda: model.parse_losses(model(**batch, mode='loss'))[0]
    return lambda: model(**batch, mode='predict')


def maps_of(model: Any, part: str) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """What turns images into the maps of a part."""
    neck = getattr(model, 'neck', None)
    pyramid = neck[0] if isinstance(neck, nn.Sequential) else neck
    if part == 'features':
        return model.extract_feat
    if part == 'pyramid' and isinstance(pyramid, Pyramid):
        return lambda images: pyramid(model.backbone(images))
    return model.backbone


def squares(maps: tuple[Tensor, ...]) -> Tensor:
    """A loss that gives every map a gradient."""
    return torch.stack([x.float().square().mean() for x in maps]).sum()


def count(model: nn.Module, part: str, size: tuple[int, int]) -> tuple[int, int]:
    """Parameters of the model, and multiply-adds of a part for one image.

    Counted are convolutions and matrix products; norms, activations, resizing, RoIAlign
    and NMS are not.
    """
    model = deepcopy(model).to('meta').eval().requires_grad_(False)
    parameters = count_parameters(model)
    if part == 'model':
        return parameters, count_macs(model, *size)
    counter = FlopCounterMode(display=False)
    with counter, torch.device('meta'), torch.no_grad():
        maps_of(model, part)(torch.empty(1, 3, *size))
    return parameters, counter.get_total_flops() // 2
