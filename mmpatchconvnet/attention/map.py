"""Where the class tokens of an attention pooling look in a picture.

Paper: "Augmenting convolutional networks with attention-based aggregation", figure 1:
https://arxiv.org/abs/2112.13692
"""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from mmpatchconvnet.attention.features import features_of, inputs_of
from mmpatchconvnet.attention.placement import Placement
from mmpatchconvnet.config_files import ConfigError
from mmpatchconvnet.inference.host_model import (
    HostModel,
    explain_memory,
    in_scope,
    kind_of,
    usable_device,
)
from mmpatchconvnet.inference.model_files import InferencePipeline, names_and_colors
from mmpatchconvnet.inference.pictures import Picture, PictureError
from mmpatchconvnet.inference.results import Classification, tell_apart
from mmpatchconvnet.inference.sources import open_source
from mmpatchconvnet.models import AttentionPooling

Array = np.ndarray
TOP = 3  # classes whose maps are made where none are chosen
LEAST_PEAK = 3  # times the mean weight: a map without a peak stays dark


@dataclass(eq=False)
class Attention:
    """Where a model looks in a picture.

    The weights of a raw map are those of the softmax, the mean over the heads: 0..1,
    with a sum of 1, or less where a single token looks at itself too.

    Attributes:
        file: The path of the picture, or the name of a frame or an array.
        classes: The name of every class, told apart from the others (`crane (517)`);
            empty for an untrained pooling.
        image: The picture, (H, W, 3) uint8 BGR, turned as EXIF says.
        labels: With one token per class, the K classes of `map`; else None.
        map: The weight at each pixel of the picture, (H, W) or (K, H, W) float32,
            interpolated between cells; 0 where the model does not see the picture.
        raw: The weight of each cell over the model's input, (h, w), or (C, h, w) with
            one token per class: all C of them.
        scores: The score of every class, (C,) float32 in 0..1; empty for an untrained
            pooling.
        entropy: How spread out the weights are: 0 is a single cell, 1 is everywhere
            alike, which says nothing. A number, or (C,) with one token per class.
        placement: Where the model's input lies in the picture.
    """

    file: str
    classes: Sequence[str] = field(repr=False)
    image: Array = field(repr=False)
    labels: Array | None
    map: Array = field(repr=False)
    raw: Array = field(repr=False)
    scores: Array = field(repr=False)
    entropy: Any = field(repr=False)
    placement: Placement = field(repr=False)

    def short_name(self, label: int) -> str:
        """The first of a class's names, or all if another class begins like it."""
        first = [name.split(',')[0] for name in self.classes]
        is_unique = first.count(first[label]) == 1
        return first[label] if is_unique else self.classes[label]


class AttentionMap:
    """Shows where a model with `AttentionPooling` looks; it is called with pictures.

    A picture passes the model's own test pipeline, and the map is placed where the
    resized and cropped input lies in the picture.

    Args:
        model: The work dir of a training, or a config file, or `PACKAGE::NAME`; or a
            model that has its config, as mmpretrain's `get_model` returns it.
        checkpoint: The checkpoint of a config; of a work dir by default the best one,
            if the training has kept one, or else the last one.
        device: `cpu`, `cuda`, ...; by default a GPU if torch finds one, or where the
            given model is.
        untrained: Put a pooling with random weights behind a backbone without one. Its
            maps show nothing about the model; train the pooling to see something.

    Attributes:
        classes: The name of every class.
        per_class: Whether there is one token, and so one map, for each class.

    Raises:
        ValueError: The model has no attention, or cannot be opened.

    Example:
        >>> maps = AttentionMap('work_dirs/mine')  # doctest: +SKIP
        >>> maps('a.png').map.shape  # doctest: +SKIP
        (480, 640)
    """

    def __init__(
        self,
        model: str | Path | nn.Module,
        checkpoint: str | Path | None = None,
        *,
        device: str | None = None,
        untrained: bool = False,
    ) -> None:
        self.module: Any
        self.checkpoint = ''  # the file of the weights, if one is read
        if isinstance(model, nn.Module):
            cfg, meta = _config_of(model)
            kind_of(model)
            if device is not None:
                model.to(usable_device(device))
            self.module = model.eval()
            self.classes, _ = names_and_colors(cfg, dict(meta=dict(dataset_meta=meta)))
            self.scope = cfg.get('default_scope')
            with in_scope(self.scope):
                self.pipeline = InferencePipeline(cfg)
        else:
            host = HostModel(
                model, checkpoint, device, deploy=None, min_score=0, multi_label=True
            )
            self.module, self.pipeline = host.module, host.pipeline
            self.classes, self.scope = list(host.classes), host.scope
            self.checkpoint = host.checkpoint
        neck = getattr(self.module, 'neck', None)
        self.is_untrained = untrained
        if isinstance(neck, AttentionPooling):
            if untrained:
                raise ConfigError(
                    'untrained=True adds a pooling, but this model has its own '
                    'AttentionPooling: leave the option out.'
                )
            self.pooling = neck
        elif untrained:
            self.pooling = _random_pooling(self.module)
        else:
            raise ConfigError(_what_to_add(self.module))
        self.per_class = self.pooling.num_tokens > 1

    def __call__(
        self,
        picture: Any,
        classes: str | Sequence[str] | None = None,
        scale: tuple[float, float] | None = None,
    ) -> Attention:
        """Where the model looks in one picture.

        Args:
            picture: A picture file, or an array (H, W), (H, W, 3) BGR or (H, W, 4).
            classes: With one token per class, the names of those whose maps are made;
                by default those of the three highest scores.
            scale: Stored values that become black and white; see `read_picture`.

        Raises:
            ValueError: The picture cannot be read, there is no such class, or `classes`
                is given for a single token.
            MemoryError: The device has too little memory.
        """
        found = list(self.look(open_source(picture, scale=scale), classes))
        if len(found) != 1:
            raise ValueError(
                f'{picture} has {len(found)} pictures: give one, or call `look` with '
                '`open_source` of it.'
            )
        if isinstance(found[0][1], PictureError):
            raise found[0][1]
        return found[0][1]

    def look(
        self,
        pictures: Iterable[Picture | PictureError],
        classes: str | Sequence[str] | None = None,
    ) -> Iterator[tuple[str, Attention | PictureError]]:
        """Where the model looks in opened pictures, in order; errors pass through.

        Args:
            pictures: Such as `inference.sources.open_source` returns.
            classes: As for a call.

        Returns:
            An iterator over pairs: `Picture.relative` and the result, or '' and the
            error.

        Raises:
            ValueError: There is no such class, or there is one map for all classes.
        """
        labels = None if classes is None else self.labels_of(classes)
        return (
            ('', picture)
            if isinstance(picture, PictureError)
            else (picture.relative, self._look(picture, labels))
            for picture in pictures
        )

    def labels_of(self, names: str | Sequence[str]) -> Array:
        """The classes with these names, (K,); of several names, the first is enough.

        Raises:
            ValueError: There is no such class, no name is given, or there is one map
                for all classes.
        """
        names = [names] if isinstance(names, str) else names
        if not len(names):
            raise ValueError(
                'an empty list of classes is given: name one or more, or leave it out.'
            )
        if not self.per_class:
            raise ValueError(
                f'the classes {", ".join(names)} are chosen, but this model has one '
                'token, so one map for all classes: leave them out, or train with '
                'num_tokens=num_classes and PerTokenLinearHead.'
            )
        known: dict[str, dict[int, None]] = {}
        count = self.pooling.num_tokens
        for classes in (self.classes[:count], self._names(count)):
            for label, name in enumerate(classes):
                for one in (name, *name.split(', ')):
                    known.setdefault(one, {})[label] = None
        lower = {name.lower(): name for name in known}
        chosen: dict[int, None] = {}
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name.lower(), lower, 3, 0.5)
                close = [lower[one] for one in near] or list(known)[:3]
                hint = ', '.join(map(repr, close))
                many = f'one of the {count} classes, such as '
                raise ValueError(
                    f'there is no class {name!r}: give {"" if near else many}{hint}.'
                )
            chosen.update(known[name])
        return np.array(list(chosen), np.int64)

    def _names(self, count: int) -> list[str]:
        """The names of `count` classes, told apart."""
        return tell_apart(self.classes[:count], count)

    def _look(self, picture: Picture, labels: Array | None) -> Attention:
        with in_scope(self.scope):
            inputs, placement = inputs_of(self.module, self.pipeline, picture)
        (height, width) = placement.seen
        about = f'a picture of {width}x{height} pixels'
        memory = explain_memory(
            about, 'use a smaller Resize in its test pipeline, or another device'
        )
        with memory, in_scope(self.scope), torch.inference_mode():
            features, placement = features_of(self.module, inputs, placement)
            pooled, attention = self.pooling(features, return_attention=True)
            scores = np.empty(0, np.float32)
            if not self.is_untrained:
                (sample,) = self.module.head.predict(pooled)
                scores = sample.pred_score.float().cpu().numpy()
        raw = attention[0].mean(0).float().cpu().numpy()  # (tokens, h, w)
        if not self.per_class:
            raw, chosen = raw[0], raw[0]
        else:
            if labels is None:
                labels = np.argsort(-scores, kind='stable')[:TOP]
            chosen = raw[labels]
        return Attention(
            picture.file,
            [] if self.is_untrained else self._names(len(scores)),
            picture.image,
            labels,
            placement.to_picture(chosen),
            raw,
            scores,
            entropy(raw),
            placement,
        )


def entropy(maps: Array) -> Any:
    """How spread out the weights of maps are, 0..1: of (h, w) a number, else (...).

    It is the entropy of the weights, scaled to a sum of 1, divided by its maximum. It
    is 1 where all weights are 0.

    Example:
        >>> entropy(np.ones((4, 4)))
        1.0
        >>> entropy(np.array([[[1, 0], [0, 0]], [[1, 1], [0, 0]]]))
        array([0. , 0.5])
    """
    shares = maps.reshape(*maps.shape[:-2], -1).astype(np.float64)
    cells = shares.shape[-1]
    total = shares.sum(-1, keepdims=True)
    shares = np.where(total > 0, shares, 1) / np.where(total > 0, total, cells)
    logs = np.log(shares, where=shares > 0, out=np.zeros_like(shares))
    spread = -(shares * logs).sum(-1) / max(np.log(cells), 1e-12)
    spread = np.abs(spread.round(6))
    return float(spread) if maps.ndim == 2 else spread


def brightest(cells: Array) -> float:
    """The weight of a map (h, w) that has the brightest colour."""
    return float(max(cells.max(), LEAST_PEAK * cells.mean())) or 1.0


def _config_of(model: nn.Module) -> tuple[Config, Any]:
    """The config and the data set's meta that a host's own loader has left there."""
    for config, meta in (('cfg', 'dataset_meta'), ('_config', '_dataset_meta')):
        if getattr(model, config, None) is not None:
            return getattr(model, config), getattr(model, meta, None)
    raise ConfigError(
        f'this {type(model).__name__} has no config: give a work dir, a config with a '
        "checkpoint, or a model of mmpretrain's get_model."
    )


def _random_pooling(module: Any) -> AttentionPooling:
    """A pooling with random weights, always the same ones, for the last map."""
    parameter = next(module.parameters())
    with torch.inference_mode():
        features = module.backbone(torch.zeros(1, 3, 64, 64).to(parameter.device))
    if isinstance(features, torch.Tensor):
        features = [features]
    if features[-1].dim() != 4:
        raise ConfigError(
            f'{type(module.backbone).__name__} gives no map (B, C, H, W): set '
            "out_type='featmap', or give another backbone."
        )
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        pooling = AttentionPooling(features[-1].shape[1])
    return pooling.to(parameter.device).eval()


def _what_to_add(module: Any) -> str:
    """What is missing for a map of attention, as a sentence."""
    name = type(module).__name__
    if kind_of(module)[0] is Classification:
        neck = getattr(module, 'neck', None)
        fault = (
            'it has no neck' if neck is None else f'its neck is {type(neck).__name__}'
        )
        width = getattr(getattr(module, 'head', None), 'in_channels', 'WIDTH')
        return (
            f'{name} has no attention to show, as {fault}: train it with '
            "neck=dict(_delete_=True, type='mmpatchconvnet.AttentionPooling', "
            f'in_channels={width}) in the model of its config.'
        )
    return (
        f'{name} has no attention to show, as it has no class token: train an '
        'AttentionPooling on its frozen backbone, as mmpatchconvnet::demo/'
        'attention_mask-rcnn_patchconvnet-tiny_scenes.py does, or give --untrained '
        '(untrained=True) for a pooling with random weights, which shows nothing about '
        'the model.'
    )
