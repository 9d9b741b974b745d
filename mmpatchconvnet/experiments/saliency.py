"""Maps that say which parts of a picture a classifier needs, by several methods.

All are of the cells of the map that the pooling sees: none is finer than another.

Papers: Grad-CAM, Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391; Grad-CAM++,
Chattopadhay et al. 2018, https://arxiv.org/abs/1710.11063. Both are from the package
`grad-cam`, https://github.com/jacobgil/pytorch-grad-cam.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmpatchconvnet.attention.features import features_of, inputs_of
from mmpatchconvnet.attention.placement import Axis, Placement
from mmpatchconvnet.config_files import ConfigError
from mmpatchconvnet.inference.host_model import HostModel, in_scope
from mmpatchconvnet.inference.pictures import Picture
from mmpatchconvnet.inference.results import Classification
from mmpatchconvnet.models import AttentionPooling

Array = np.ndarray
ATTENTION, GRAD_CAM, GRAD_CAM_PP, RANDOM = METHODS = (
    'attention',
    'Grad-CAM',
    'Grad-CAM++',
    'random',
)


def check_library() -> None:
    """Raise unless the package `grad-cam` is installed."""
    if find_spec('pytorch_grad_cam') is None:
        raise ImportError(
            'pytorch_grad_cam cannot be imported, which this comparison needs: install '
            "it with pip install 'mmpatchconvnet[faithfulness]', or pip install "
            'grad-cam.'
        )


@dataclass(frozen=True)
class Explained:
    """Maps of one picture for some classes.

    Attributes:
        labels: The classes, (L,).
        scores: The score of every class, (C,) float32 in 0..1.
        inputs: The picture as the model's input, (1, 3, H, W).
        cells: Of each method the maps (L, h, w) float32, 0 or more with a sum of 1.
        placement: Where the cells lie in the picture.
    """

    labels: Array
    scores: Array
    inputs: Tensor
    cells: dict[str, Array]
    placement: Placement

    def over_picture(self, method: str) -> Array:
        """The maps (L, H, W) at each pixel of the picture."""
        return self.placement.to_picture(self.cells[method])

    def over_input(self, method: str) -> Array:
        """The maps (L, H, W) at each pixel of the model's input."""
        height, width = self.inputs.shape[-2:]
        place = replace(
            self.placement, x=Axis(), y=Axis(), shape=(height, width),
            seen=(height, width),
        )  # fmt: skip
        return place.to_picture(self.cells[method])


class Explainer:
    """Makes the maps of a trained classifier.

    Args:
        work_dir: The work dir of its training.

    Attributes:
        classes: The name of every class.
        methods: Those of `METHODS` that this model has: no attention without
            `AttentionPooling`.
        pooling: What its neck is, for people.

    Raises:
        ImportError: The package `grad-cam` is missing.
        ValueError: The model cannot be opened.
    """

    def __init__(self, work_dir: Path) -> None:
        check_library()
        # Not folded, as the place of cells is read from layers.
        host = HostModel(work_dir, None, None, None, 0, multi_label=True)
        self.module, self.pipeline = host.module, host.pipeline
        self.classes, self.scope = list(host.classes), host.scope
        neck = getattr(self.module, 'neck', None)
        if host.kind is not Classification or neck is None:
            raise ConfigError(
                f'{work_dir} has no classifier with a pooling as its neck '
                f'({type(self.module).__name__}): give one with AttentionPooling or '
                'GlobalAveragePooling.'
            )
        self.methods: tuple[str, ...] = METHODS[1:]
        self.pooling, self.per_class = type(neck).__name__, False
        if isinstance(neck, AttentionPooling):
            self.methods, self.per_class = METHODS, neck.num_tokens > 1
            self.pooling = 'a token for each class' if self.per_class else 'one token'
        elif self.pooling == 'GlobalAveragePooling':
            self.pooling = 'average'
        self.from_map = FromMap(neck, self.module.head)

    def __call__(
        self, picture: Picture, choose: Callable[[Array], Array], random: Any
    ) -> Explained:
        """Maps of one picture.

        Args:
            picture: The picture.
            choose: Which classes, (L,) with L >= 1, by the scores (C,) of all.
            random: A generator of numpy, for the random maps.
        """
        with in_scope(self.scope), torch.no_grad():
            inputs, placement = inputs_of(self.module, self.pipeline, picture)
            features, placement = features_of(self.module, inputs, placement)
            scores = self._scores_of(features)[0]
        labels = np.asarray(choose(scores))
        cells = {RANDOM: random.random((len(labels), *placement.cells))}
        if len(labels):
            cells |= cam_maps(self.from_map, features[-1], labels)
        if ATTENTION in self.methods:
            cells[ATTENTION] = self._attention(features, labels)
        shares = {
            name: to_shares(cells[name]) for name in self.methods if name in cells
        }
        return Explained(labels, scores, inputs, shares, placement)

    def scores(self, inputs: Tensor) -> Array:
        """The score of every class, (B, C) float32 in 0..1, of inputs (B, 3, H, W)."""
        with in_scope(self.scope), torch.inference_mode():
            return self._scores_of(self.module.backbone(inputs))

    def _scores_of(self, features: Sequence[Tensor]) -> Array:
        samples = self.module.head.predict(self.module.neck(features))
        return torch.stack([s.pred_score for s in samples]).float().cpu().numpy()

    def _attention(self, features: Sequence[Tensor], labels: Array) -> Array:
        """The mean over the heads; a single token has one map for all classes."""
        with torch.inference_mode():
            _, weights = self.module.neck(features, return_attention=True)
        maps = weights[0].mean(0).float().cpu().numpy()
        return maps[labels if self.per_class else np.zeros_like(labels)]


class FromMap(nn.Module):
    """Scores before the sigmoid or softmax, from the last map of a backbone."""

    def __init__(self, neck: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.seen, self.neck, self.head = nn.Identity(), neck, head

    def forward(self, features: Tensor) -> Tensor:
        return self.head(self.neck((self.seen(features),)))


def cam_maps(model: FromMap, features: Tensor, labels: Array) -> dict[str, Array]:
    """Grad-CAM and Grad-CAM++ of the map that the pooling sees.

    Args:
        model: From this map to scores.
        features: The map, (1, C, h, w).
        labels: The classes, (L,).

    Returns:
        For each of the two, (L, h, w), 0 or more.
    """
    from pytorch_grad_cam import GradCAM, GradCAMPlusPlus
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    targets = [ClassifierOutputTarget(label) for label in labels.tolist()]
    maps = {}
    for name, library in ((GRAD_CAM, GradCAM), (GRAD_CAM_PP, GradCAMPlusPlus)):

        class AtCells(library):  # type: ignore[misc, valid-type]
            """Keeps the map before the library stretches it over the input."""

            def get_cam_image(self, *args: Any, **kwargs: Any) -> Array:
                self.cells = super().get_cam_image(*args, **kwargs)
                return self.cells

        inputs = features.detach().repeat(len(labels), 1, 1, 1).requires_grad_()
        with AtCells(model, [model.seen]) as cam:
            cam(inputs, targets)
            maps[name] = np.maximum(cam.cells, 0)
    return maps


def to_shares(maps: Array) -> Array:
    """Maps (L, h, w) of 0 or more with a sum of 1 each; those of zeros become uniform.

    Example:
        >>> to_shares(np.array([[[3, 1], [0, 0]], [[0, 0], [0, 0]]])).tolist()
        [[[0.75, 0.25], [0.0, 0.0]], [[0.25, 0.25], [0.25, 0.25]]]
    """
    total = maps.sum((1, 2), keepdims=True, dtype=np.float64)
    uniform = 1 / (maps.shape[1] * maps.shape[2])
    shares = maps / np.where(total > 0, total, 1)
    return np.where(total > 0, shares, uniform).astype(np.float32)
