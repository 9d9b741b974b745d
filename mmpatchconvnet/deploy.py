"""Prepare a trained model for inference: merge consecutive linear steps into one.

Backbones, `HMHSA` and the attention of `AttentionPooling` fold themselves
(`models/block/folded.py`, `models/transcnn_folded.py`, `models/attention_pooling.py`).
A `DeconvPyramid` is merged with the 1x1 convolutions of the FPN or UPerHead that reads
it (`models/fold_pyramid.py`). At stride 4, where maps are largest, this saves 60 % of
the cost of the two. A `UPerHead` of mmseg, behind any backbone, becomes a
`FastUPerHead`.
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
from mmpatchconvnet.models import HMHSA, DeconvPyramid
from mmpatchconvnet.models.attention_pooling import ClassAttention
from mmpatchconvnet.models.backbone import Backbone
from mmpatchconvnet.models.fold_pyramid import fold_pyramid
from mmpatchconvnet.models.pyramids import Pyramid
from mmpatchconvnet.models.transcnn_folded import fold, why_not_folded

UPER_HEADS = {
    'mmseg.models.decode_heads.uper_head.UPerHead',
    'mmpatchconvnet.models.uper_head.FastUPerHead',
}
HALF = (torch.bfloat16, torch.float16)


def switch_to_deploy(model: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """Fold a classifier, detector, segmentor or backbone for inference, in place.

    The results stay the same up to rounding. The model can no longer be trained, and
    its state dict has other keys; to undo this, build the model again and load its
    checkpoint. Layers that cannot be merged stay unchanged, and the log names them. A
    second call changes nothing, or converts a float32 model to half precision.

    Args:
        model: Any model that contains a `PatchConvNet`, `TransCNN`, `HMHSA` or
            `mmseg.UPerHead`, in eval or training mode.
        dtype: `torch.bfloat16` or `torch.float16` converts backbone and pyramid to this
            dtype and runs necks and heads under autocast. RoIAlign, boxes and NMS stay
            in float32, as half precision would shift boxes by pixels. A backbone alone
            returns maps in `dtype`.

    Returns:
        The same model, in eval mode. `for block in model.backbone.blocks:
        block.compile(dynamic=True)` compiles its backbone once for all blocks and image
        sizes.

    Raises:
        ValueError: An unsupported dtype, or a dtype other than the half precision that
            the model already has.
    """
    check_dtype(model, dtype)
    model.eval().requires_grad_(False)
    for name, module in model.named_modules():
        if is_uper_head(module):
            use_fast_uper_head(module)
        elif isinstance(module, (Backbone, ClassAttention)):
            module.switch_to_deploy()
        elif isinstance(module, HMHSA) and module.gamma is not None:
            if reason := why_not_folded(module):
                print_log(f'{name or "HMHSA"} is not folded ({reason}).', 'current')
            else:
                fold(module)
        elif isinstance(module, DeconvPyramid):
            readers = readers_of(module, model)
            kept = (
                'all levels: the pyramid is not in model.neck'
                if readers is None
                else fold_pyramid(module, readers)
            )
            if kept:
                print_log(f'The pyramid is not merged at {kept}.', 'current')
    set_compute_dtype(model, dtype)
    return model


def check_dtype(model: nn.Module, dtype: torch.dtype | None) -> None:
    """Raise unless a model can be converted to a dtype."""
    if dtype not in (None, torch.float32, *HALF):
        raise ValueError(
            f'dtype={dtype!r} is not supported: give torch.float32, '
            'torch.bfloat16 or torch.float16.'
        )
    for module in model.modules():
        if isinstance(module, (Backbone, Pyramid)):
            given = {x.dtype for x in module.parameters()} & {*HALF}
            if given and dtype not in (None, *given):
                raise ValueError(
                    f'dtype={dtype} is given for a model already rounded to '
                    f'{given.pop()}: build it again, load its checkpoint and call '
                    'switch_to_deploy once.'
                )


def is_uper_head(module: nn.Module) -> bool:
    """Whether it is mmseg's or ours, not a subclass; mmseg is not imported for that."""
    kind = type(module)
    return f'{kind.__module__}.{kind.__qualname__}' in UPER_HEADS


def use_fast_uper_head(head: nn.Module) -> None:
    """Make it a `FastUPerHead`, which has the same parts, without BatchNorm."""
    from mmcv.cnn import fuse_conv_bn

    from mmpatchconvnet.models.uper_head import FastUPerHead

    head.__class__ = FastUPerHead
    fuse_conv_bn(head)


def readers_of(pyramid: nn.Module, model: Any) -> list[nn.Module] | None:
    """The modules that are called with the levels of a pyramid; None if unknown.

    In a neck of several modules this is the next module. Otherwise these are all
    children of the model except preprocessor, backbone and neck.
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


def set_compute_dtype(model: Any, dtype: torch.dtype | None) -> None:
    """Run features and heads of a folded model in half precision.

    Compiled ops of mmcv need contiguous features, but folded maps are channels-last.
    If the ops are compiled, features are made contiguous in any dtype.
    """
    half = dtype if dtype in HALF else None
    contiguous = ops_are_compiled()
    if hasattr(model, 'extract_feat') and (half or contiguous):
        wrap_method(model, 'extract_feat', half, contiguous)
    for module in model.modules() if half else ():
        if isinstance(module, (Backbone, Pyramid)):
            module.to(half)
        elif hasattr(module, 'predict_by_feat'):  # a head of mmdet or mmseg
            wrap_method(module, 'forward', half, contiguous=False)


def wrap_method(
    module: Any, name: str, dtype: torch.dtype | None, contiguous: bool
) -> None:
    """Replace a method by `run_method`; a wrapper of an earlier call is replaced."""
    method: Any = getattr(module, name)
    if isinstance(method, partial) and method.func is run_method:
        if dtype is None:  # keep the half precision of an earlier call
            return
        method = method.args[0]
    # A partial is copied with the model; a closure would still call the original.
    setattr(module, name, partial(run_method, method, dtype, contiguous))


def run_method(
    method: Callable,
    dtype: torch.dtype | None,
    contiguous: bool,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Call a method; with a dtype, under autocast and with results in float32."""
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
