"""A trained model for inference: what is linear, one step after the other, becomes one.

Blocks are folded (`models/block/folded.py`). Where a `DeconvPyramid` ends a level with
a transposed convolution and an FPN or UPerHead starts with a 1x1 convolution, they are
merged, which at stride 4, where a map is largest, saves 60 % of the two.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mmpatchconvnet.compat import ops_are_compiled
from mmpatchconvnet.models import DeconvPyramid, PatchConvNet
from mmpatchconvnet.models.pyramids import Pyramid

DTYPES = (None, torch.float32, torch.bfloat16, torch.float16)


def switch_to_deploy(model: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """Fold a classifier, detector, segmentor or column for inference, in place.

    Answers stay the same up to rounding. The model cannot be trained any more and its
    checkpoints have other names; to go back, build it again and load its checkpoint.

    Args:
        model: Any model with our column in it, in eval or training mode.
        dtype: `torch.bfloat16` or `torch.float16` turns column and pyramid to it and
            lets necks and heads multiply in it; RoIAlign, boxes and NMS, which would
            be off by pixels, stay in float32. A lone column answers in `dtype`.

    Returns:
        The same model, in eval mode. `for block in model.backbone.blocks:
        block.compile(dynamic=True)` compiles its column once, for all blocks and sizes.

    Raises:
        ValueError: Another dtype, or a norm that cannot be folded.
    """
    if dtype not in DTYPES:
        raise ValueError(
            f'dtype={dtype!r} is no dtype to run in: give torch.float32, '
            'torch.bfloat16 or torch.float16.'
        )
    model.eval().requires_grad_(False)
    for module in list(model.modules()):
        if isinstance(module, PatchConvNet):
            module.switch_to_deploy()
    pyramid: Any = getattr(model, 'neck', None)
    reader: Any = getattr(model, 'decode_head', None)
    if isinstance(pyramid, nn.Sequential):  # a detector: the pyramid, then an FPN
        pyramid, reader = pyramid[:2]
    if isinstance(pyramid, DeconvPyramid) and hasattr(reader, 'lateral_convs'):
        start = getattr(reader, 'start_level', 0)
        for i, lateral in enumerate(reader.lateral_convs):
            reader.lateral_convs[i] = merge_lateral(pyramid, start + i, lateral)
    if dtype not in (None, torch.float32):
        compute_in(model, dtype)
    features: Any = getattr(model, 'extract_feat', None)
    if features and ops_are_compiled():
        setattr(model, 'extract_feat', partial(contiguous_maps, features))  # noqa: B010
    return model


def contiguous_maps(method: Callable, *args: Any, **kwargs: Any) -> tuple:
    """Maps as mmcv's compiled ops take them for granted; ours are channels-last."""
    return tuple(x.contiguous() for x in method(*args, **kwargs))


def compute_in(model: Any, dtype: torch.dtype) -> None:
    """Let features and heads of a folded model be computed in half precision."""
    methods = [model.extract_feat] if hasattr(model, 'extract_feat') else []
    for module in model.modules():
        if isinstance(module, (PatchConvNet, Pyramid)):
            module.to(dtype)
        elif hasattr(module, 'predict_by_feat'):  # a head of mmdet or mmseg
            methods.append(module.forward)
    for method in methods:
        if not isinstance(method, partial):  # else it does so already
            # No closure, which would not be copied with the model.
            autocast = partial(run_in_autocast, dtype, method)
            setattr(method.__self__, method.__name__, autocast)


def run_in_autocast(
    dtype: torch.dtype, method: Callable, *args: Any, **kwargs: Any
) -> Any:
    """What a method answers in autocast, in float32 again."""
    weights: Any = method.__self__.parameters()  # type: ignore[attr-defined]
    device = next(weights, torch.empty(0)).device.type
    with torch.autocast(device, dtype):
        return in_float32(method(*args, **kwargs))


def in_float32(answer: Any) -> Any:
    """Tensors in float32, also in lists, tuples and dicts; all else as it is."""
    if isinstance(answer, torch.Tensor):
        return answer.float() if answer.is_floating_point() else answer
    if isinstance(answer, dict):
        return {key: in_float32(value) for key, value in answer.items()}
    if type(answer) in (list, tuple):
        return type(answer)(map(in_float32, answer))
    return answer


@torch.no_grad()
def merge_lateral(pyramid: DeconvPyramid, level: int, lateral: Any) -> nn.Module:
    """Put the convolution of `lateral` into a level of the pyramid.

    Args:
        pyramid: In eval mode.
        level: Which one; nothing is done unless it ends with a transposed convolution.
        lateral: mmcv's `ConvModule` of 1x1, with norm and activation or without.

    Returns:
        What is left to do of `lateral`.
    """
    scale = pyramid.scales[level]
    stem = [i for i, s in enumerate(pyramid.stem_scales) if s == scale]
    projections: list[Any] = [pyramid.stem_projections[i] for i in stem]
    foldable = all(isinstance(p.norm, _BatchNorm) for p in projections)
    if scale <= 1 or not foldable:
        return lateral
    conv, rest = lateral.conv, []
    if lateral.with_norm:
        if isinstance(lateral.norm, _BatchNorm):
            conv = fuse_conv_bn_eval(conv, lateral.norm)
        else:
            rest.append(lateral.norm)
    if lateral.with_activation:
        rest.append(lateral.activate)
    weight = conv.weight.flatten(1)  # (out, in)

    steps: Any = pyramid.levels[level]
    *_, name = steps._modules
    old = steps[-1]
    bias = weight @ old.bias + (0 if conv.bias is None else conv.bias)
    merged: nn.Module = nn.ConvTranspose2d(old.in_channels, len(weight), 2, stride=2)
    merged.load_state_dict(
        dict(weight=torch.einsum('cihw,oi->cohw', old.weight, weight), bias=bias)
    )
    steps._modules[name] = merged.to(weight)
    for i, projection in zip(stem, projections, strict=True):
        fused = fuse_conv_bn_eval(projection.conv, projection.norm)
        merged = nn.Conv2d(fused.in_channels, len(weight), 1)
        merged.load_state_dict(
            dict(
                weight=torch.einsum('ichw,oi->ochw', fused.weight, weight),
                bias=weight @ fused.bias,
            )
        )
        pyramid.stem_projections[i] = merged.to(weight)
    pyramid.requires_grad_(False)
    return nn.Sequential(*rest)
