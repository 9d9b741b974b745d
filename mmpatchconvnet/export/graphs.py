"""Models of the hosts as plain functions of tensors, which `torch.export` can trace."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.export import Dim

from mmpatchconvnet.export.preprocess import Preprocess
from mmpatchconvnet.export.resizing import crop, resize_bilinear
from mmpatchconvnet.models.backbone import Backbone

SUPPORTED = (
    'ImageClassifier of mmpretrain, EncoderDecoder of mmseg, TwoStageDetector, '
    'FasterRCNN and MaskRCNN of mmdet, a PatchConvNet or TransCNN, or an '
    'nn.Sequential that starts with one'
)


class Graph(nn.Module):
    """Base class: a model with one tensor or more as input and a tuple as output.

    Args:
        model: The model of a host.
        preprocess: Put the model's data preprocessor in front; images are then BGR
            from 0 to 255.

    Attributes:
        input_names: Names of the arguments of `forward`.
        output_names: Names of its results.
        dims: Names of the dimensions of the images that may change.
        parts: Names of the parts of the model that may run in half precision.
    """

    input_names: ClassVar[tuple[str, ...]] = ('images',)
    dims: ClassVar[dict[int, str]] = {0: 'batch', 2: 'height', 3: 'width'}
    parts: ClassVar[tuple[str, ...]] = ()

    def __init__(self, model: Any, preprocess: bool = False) -> None:
        super().__init__()
        refuse_half(model)
        self.model = model
        self.output_names: tuple[str, ...] = ()
        self.preprocess: nn.Module = nn.Identity()
        if preprocess:
            if getattr(model, 'data_preprocessor', None) is None:
                raise ValueError(
                    f'preprocess=True is given for a {type(model).__name__} without a '
                    'data preprocessor: leave it out.'
                )
            self.preprocess = Preprocess(model.data_preprocessor)
        self.eval()

    def example(self, batch: int, height: int, width: int) -> tuple[Tensor, ...]:
        """Random arguments of `forward`, for a trace or a comparison."""
        images = torch.randn(batch, 3, height, width)
        if isinstance(self.preprocess, Preprocess):
            images = (images * 60 + 120).clamp(0, 255)
        return (images,)

    def dynamic_shapes(self) -> dict[str, Any]:
        """The dimensions that may change, as `torch.export` wants them."""
        images = {
            dim: Dim(name, min=64 if dim else 1, max=2**14)
            for dim, name in self.dims.items()
        }
        return {name: images if name == 'images' else None for name in self.input_names}


class ClassifierGraph(Graph):
    """Images (N, 3, H, W) to `scores` (N, C), the softmax of a classifier."""

    parts = ('backbone', 'neck', 'head')

    def __init__(self, model: Any, preprocess: bool = False) -> None:
        from mmpretrain.models import ClsHead, ImageClassifier

        from mmpatchconvnet.attention.mix_classifier import AttentionMixClassifier

        check_type(model, ImageClassifier, AttentionMixClassifier)
        keeps_method(model.head, '_get_predictions', ClsHead)
        super().__init__(model, preprocess)
        self.output_names = ('scores',)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.model.extract_feat(self.preprocess(images))
        return (self.model.head(features).softmax(1),)


class FeatureGraph(Graph):
    """Images (N, 3, H, W) to the maps `level0`, `level1`, ... of a backbone and neck.

    The model is a backbone of ours, an `nn.Sequential` of it and necks, or any model of
    a host with `extract_feat`.
    """

    parts = ('model',)

    def __init__(self, model: Any, preprocess: bool = False) -> None:
        super().__init__(model, preprocess)
        with torch.no_grad():
            count = len(self(torch.zeros(1, 3, 64, 64)))
        self.output_names = tuple(f'level{i}' for i in range(count))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        extract = getattr(self.model, 'extract_feat', self.model)
        return tuple(extract(self.preprocess(images)))


class SegmentorGraph(Graph):
    """Images (N, 3, H, W) to `logits` (N, C, H, W), as `encode_decode` gives."""

    parts = ('backbone', 'neck', 'decode_head')

    def __init__(self, model: Any, preprocess: bool = False) -> None:
        from mmseg.models import EncoderDecoder
        from mmseg.models.decode_heads.decode_head import BaseDecodeHead

        check_type(model, EncoderDecoder)
        keeps_method(model.decode_head, 'predict', BaseDecodeHead)
        keeps_method(model.decode_head, 'predict_by_feat', BaseDecodeHead)
        mode = model.test_cfg.get('mode', 'whole')
        if mode != 'whole':
            raise ValueError(
                f"mode={mode!r} in the segmentor's test_cfg cannot be exported: use "
                "mode='whole', and tiles in Predictor for large pictures."
            )
        super().__init__(model, preprocess)
        self.output_names = ('logits',)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        padded = self.preprocess(images)
        logits = self.model.decode_head(self.model.extract_feat(padded))
        logits = resize_bilinear(logits, padded.shape[2:], self.model.align_corners)
        if getattr(self.preprocess, 'divisor', 1) > 1:
            logits = crop(logits, *images.shape[2:])
        return (logits,)


def make_graph(model: Any, preprocess: bool = False) -> Graph:
    """The graph of a model; a graph is returned as it is.

    Raises:
        ValueError: A model that is not supported, or one in half precision.
    """
    if isinstance(model, Graph):
        return model
    packages = [kind.__module__.partition('.')[0] for kind in type(model).__mro__]
    host = next(name for name in packages if name != 'mmpatchconvnet')
    if host == 'mmpretrain':
        return ClassifierGraph(model, preprocess)
    if host == 'mmseg':
        return SegmentorGraph(model, preprocess)
    if host == 'mmdet':
        from mmpatchconvnet.export.detector import DetectorGraph

        return DetectorGraph(model, preprocess)
    first = next(iter(model), None) if isinstance(model, nn.Sequential) else model
    if isinstance(first, Backbone):
        return FeatureGraph(model, preprocess)
    raise unsupported(model)


def unsupported(part: Any) -> ValueError:
    return ValueError(
        f'{type(part).__module__}.{type(part).__name__} cannot be exported (supported '
        f'are {SUPPORTED}): export its maps by FeatureGraph(model).'
    )


def check_type(part: Any, *kinds: type) -> None:
    """Raise unless a part is exactly of one of these types; a subclass may do more."""
    if type(part) not in kinds:
        raise unsupported(part)


def keeps_method(part: Any, name: str, base: type) -> None:
    """Raise unless a part computes its predictions as the base class of heads does."""
    if getattr(type(part), name, None) is not getattr(base, name):
        raise ValueError(
            f'{type(part).__name__} predicts otherwise than {base.__name__}, the only '
            'way that can be exported: export the maps by FeatureGraph(model).'
        )


def refuse_half(model: nn.Module) -> None:
    """Raise if a model has been converted to half precision."""
    given = {x.dtype for x in model.parameters()} & {torch.float16, torch.bfloat16}
    if given:
        raise ValueError(
            f'The model is in {given.pop()}, but only float32 can be exported: load '
            'it again in float32, and export with fp16=True for half precision.'
        )
