"""Parameters and multiply-adds of a model, counted without running it.

The forward pass runs on torch's meta device, where tensors have shapes but no values,
so the largest model takes seconds. torch's `FlopCounterMode` counts convolutions and
matrix products, but not norms, activations, RoIAlign and NMS.
"""

from collections.abc import Iterator
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope, init_default_scope
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from mmpatchconvnet.experiments.query_heads import count_head, has_queries

# Numbers of proposals with which papers count the second stage.
NUM_BOX_ROIS, NUM_MASK_ROIS = 1000, 100


def build_model(cfg: Config) -> nn.Module:
    """The model of a config of any host, with its layers' initial weights."""
    scope = cfg.default_scope
    __import__(f'{scope}.models')
    init_default_scope(scope)
    settings = dict(cfg.model)
    if scope == 'mmpretrain':  # its preprocessor would build augmentations
        settings['train_cfg'] = None
    with DefaultScope.overwrite_default_scope(scope):
        return MODELS.build(settings)


class WithoutRandomValues(TorchFunctionMode):
    """Random initial values, which take most of the time to build a model, are fixed.

    Normal ones are their mean, as torch draws those outside given bounds again.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.uniform_:
            return args[0].zero_()
        if func is Tensor.normal_:
            return args[0].fill_(args[1] if args[1:] else kwargs.get('mean', 0))
        return func(*args, **kwargs)


def build_on_meta(cfg: Config) -> nn.Module:
    """The model of a config of any host, without values and gradients."""
    # Built elsewhere first: Swin and others read tensor values in constructors.
    with WithoutRandomValues():
        model = build_model(cfg)
    return model.to('meta').eval().requires_grad_(False)


def count_parameters(model: nn.Module) -> int:
    """All parameters, trained or frozen."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: Any, height: int, width: int) -> int:
    """Multiply-adds for one image of this size, without auxiliary heads.

    Args:
        model: A classifier, detector or segmentor from `build_on_meta`. The second
            stage of a detector is counted with 1000 boxes and 100 masks.
        height: Height of the image, in pixels.
        width: Width of the image, in pixels.
    """
    counter = FlopCounterMode(display=False)
    with counter, torch.device('meta'), torch.no_grad():
        features = model.extract_feat(torch.empty(1, 3, height, width))
        if not has_queries(model):
            run_head(model, features)
    macs = counter.get_total_flops() // 2
    if has_queries(model):
        macs += count_head(model, features, (height, width))
    return macs


def run_head(model: Any, features: Any) -> None:
    """Run maps through the heads as in testing, except what depends on scores."""
    for name in ('head', 'decode_head', 'rpn_head', 'bbox_head'):
        if getattr(model, name, None) is not None:
            getattr(model, name)(features)
    roi_head = getattr(model, 'roi_head', None)
    if roi_head is None:
        return
    # The mask of a cascade is the mean over its stages.
    for part, num_rois in (('bbox', NUM_BOX_ROIS), ('mask', NUM_MASK_ROIS)):
        extractors = stages_of(getattr(roi_head, f'{part}_roi_extractor', None))
        heads = stages_of(getattr(roi_head, f'{part}_head', None))
        for extractor, head in zip(extractors, heads, strict=True):
            size = extractor.roi_layers[0].output_size
            head(torch.empty(num_rois, extractor.out_channels, *size))


def stages_of(part: nn.Module | None) -> Iterator[Any]:
    """The stages of a cascade, or the only stage of another head."""
    if isinstance(part, nn.ModuleList):
        yield from part
    elif part is not None:
        yield part
