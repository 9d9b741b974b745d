"""A trained model for inference: what is linear, one step after the other, becomes one.

Blocks are folded (`models/block/folded.py`), and a `DeconvPyramid` is merged with the
1x1 convolutions of the FPN or UPerHead that reads it (`models/fold_pyramid.py`), which
at stride 4, where a map is largest, saves 60 % of the two.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from mmpatchconvnet.compat import ops_are_compiled
from mmpatchconvnet.models import DeconvPyramid, PatchConvNet
from mmpatchconvnet.models.fold_pyramid import fold_pyramid
from mmpatchconvnet.models.pyramids import Pyramid

HALF = (torch.bfloat16, torch.float16)


def switch_to_deploy(model: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """Fold a classifier, detector, segmentor or column for inference, in place.

    Results stay the same up to rounding. The model cannot be trained any more and its
    checkpoints have other names; to go back, build it again and load its checkpoint.
    What cannot be merged is left as it is, and the log says so. A second call changes
    nothing, or switches a model in float32 to half precision.

    Args:
        model: Any model with our column in it, in eval or training mode.
        dtype: `torch.bfloat16` or `torch.float16` turns column and pyramid to it and
            lets necks and heads multiply in it; RoIAlign, boxes and NMS, which would
            be off by pixels, stay in float32. A lone column returns maps in `dtype`.

    Returns:
        The same model, in eval mode. `for block in model.backbone.blocks:
        block.compile(dynamic=True)` compiles its column once, for all blocks and sizes.

    Raises:
        ValueError: Another dtype, or another than the half precision that the model
            already has.
    """
    check_dtype(model, dtype)
    model.eval().requires_grad_(False)
    for module in list(model.modules()):
        if isinstance(module, PatchConvNet):
            module.switch_to_deploy()
        elif isinstance(module, DeconvPyramid):
            readers = readers_of(module, model)
            kept = (
                'all levels: it is not in model.neck'
                if readers is None
                else fold_pyramid(module, readers)
            )
            if kept:
                print_log(f'The pyramid is not merged at {kept}.', 'current')
    compute_in(model, dtype)
    return model


def check_dtype(model: nn.Module, dtype: torch.dtype | None) -> None:
    """Raise unless a model can be switched to a dtype."""
    if dtype not in (None, torch.float32, *HALF):
        raise ValueError(
            f'dtype={dtype!r} is no dtype to run in: give torch.float32, '
            'torch.bfloat16 or torch.float16.'
        )
    for module in model.modules():
        if isinstance(module, (PatchConvNet, Pyramid)):
            given = {x.dtype for x in module.parameters()} & {*HALF}
            if given and dtype not in (None, *given):
                raise ValueError(
                    f'dtype={dtype} is given for a model rounded to {given.pop()}: '
                    'build it again, load its checkpoint and switch it once.'
                )


def readers_of(pyramid: nn.Module, model: Any) -> list[nn.Module] | None:
    """The modules that are called with the levels of a pyramid; None if not known.

    In a neck of several modules it is the next one, else all that is not before it.
    """
    neck: Any = getattr(model, 'neck', None)
    in_order = getattr(type(neck), 'forward', None) is nn.Sequential.forward
    necks = [*neck] if in_order else [neck]
    if pyramid not in necks:
        return None
    if pyramid is not necks[-1]:
        return [necks[necks.index(pyramid) + 1]]
    readers: list[nn.Module] = []
    for name, child in model.named_children():
        if name not in ('data_preprocessor', 'backbone', 'neck'):
            readers += child if isinstance(child, nn.ModuleList) else [child]
    return readers


def compute_in(model: Any, dtype: torch.dtype | None) -> None:
    """Let features and heads of a folded model be computed in half precision.

    With compiled ops of mmcv, its features become contiguous in any dtype: these ops
    take it for granted, but ours are channels-last.
    """
    half = dtype if dtype in HALF else None
    contiguous = ops_are_compiled()
    if hasattr(model, 'extract_feat') and (half or contiguous):
        wrap(model, 'extract_feat', half, contiguous)
    for module in model.modules() if half else ():
        if isinstance(module, (PatchConvNet, Pyramid)):
            module.to(half)
        elif hasattr(module, 'predict_by_feat'):  # a head of mmdet or mmseg
            wrap(module, 'forward', half, contiguous=False)


def wrap(module: Any, name: str, dtype: torch.dtype | None, contiguous: bool) -> None:
    """Replace a method by `run_method` of it; what an earlier call set is replaced."""
    method: Any = getattr(module, name)
    if isinstance(method, partial) and method.func is run_method:
        if dtype is None:  # half precision of an earlier call stays
            return
        method = method.args[0]
    # No closure, which would not be copied with the model.
    setattr(module, name, partial(run_method, method, dtype, contiguous))


def run_method(
    method: Callable,
    dtype: torch.dtype | None,
    contiguous: bool,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Call a method, in autocast if a dtype is given; the results are float32 then."""
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    device = tensors[0].device.type if tensors else 'cpu'
    with torch.autocast(device, dtype) if dtype else nullcontext():
        results = method(*args, **kwargs)

    def convert(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        if dtype and x.is_floating_point():
            x = x.float()
        return x.contiguous() if contiguous else x

    return tree_map(convert, results)
