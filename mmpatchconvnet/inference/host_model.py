"""A trained model of mmpretrain, mmdet or mmseg, run by PyTorch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmpatchconvnet.checkpoints import load_weights
from mmpatchconvnet.checkpoints.data_only import load_checkpoint
from mmpatchconvnet.config_files import ConfigError, read_config
from mmpatchconvnet.deploy import switch_to_deploy
from mmpatchconvnet.inference.model_files import (
    InferencePipeline,
    config_and_checkpoint,
    names_and_colors,
)
from mmpatchconvnet.inference.pictures import Picture
from mmpatchconvnet.inference.results import (
    Classification,
    Detection,
    Objects,
    Result,
    Segmentation,
)
from mmpatchconvnet.large_pictures import bound_masks
from mmpatchconvnet.system_faults import is_out_of_memory
from mmpatchconvnet.unknown_arguments import explain_arguments
from mmpatchconvnet.visualization.panels import to_array, to_crops

Array = np.ndarray
DTYPES = ('float32', 'bfloat16', 'float16')
# The host that a model's class belongs to, what its models predict, and where.
RESULTS: dict[str, tuple[type[Result], str]] = {
    'mmpretrain': (Classification, 'pred_score'),
    'mmdet': (Detection, 'pred_instances'),
    'mmseg': (Segmentation, 'pred_sem_seg'),
}


class HostModel:
    """A model that a `Predictor` calls; see there for the other arguments.

    Args:
        multi_label: Allow a classifier that gives a picture several classes, whose
            scores have a meaning but not the one class of `run`.

    Attributes:
        kind: What it predicts, a subclass of `Result`.
        classes: The name of every class.
        palette: RGB 0..255 of every class, or None if the data set chooses none.
        checkpoint: The file of its weights.
        module: The model of the host.
    """

    def __init__(
        self,
        model: str | Path,
        checkpoint: str | Path | None,
        device: str | None,
        deploy: str | None,
        min_score: float,
        multi_label: bool = False,
    ) -> None:
        if deploy not in (None, *DTYPES):
            raise ValueError(f'deploy={deploy!r} is given: give {", ".join(DTYPES)}.')
        device = usable_device(device)
        config, weights = config_and_checkpoint(model, checkpoint)
        self.checkpoint = weights
        cfg = read_config(config)
        self.scope, self.min_score = cfg.get('default_scope'), min_score
        if self.scope and find_spec(self.scope) is None:
            raise ConfigError(
                f'{config} needs {self.scope}, which is not installed: install '
                "OpenMMLab with pip install 'mmpatchconvnet[onedl]'."
            )
        skip_low_scores(cfg.model, min_score)
        content = load_checkpoint(weights, map_location='cpu', logger='silent')
        self.classes: Sequence[str]
        self.palette: Any
        self.classes, self.palette = names_and_colors(cfg, content)
        with in_scope(self.scope), explain_arguments(cfg):
            self.module: Any = build_model(cfg)
            self.pipeline = InferencePipeline(cfg)
        self.kind, self.key = kind_of(self.module)
        if not multi_label:
            refuse_multi_label(self.module)
        load_weights(self.module, weights, content=content)
        bound_masks(self.module)
        self.module.to(device).eval()
        if deploy:
            switch_to_deploy(self.module, getattr(torch, deploy))

    def prepare(self, picture: Picture, image: Array) -> dict[str, Any]:
        """What the test pipeline makes of a picture, or of a tile `image` of it.

        Only those whose `inputs` have the same shape can run together.
        """
        with in_scope(self.scope):
            return self.pipeline(picture, image)

    def run(self, batch: list[dict]) -> list[tuple[tuple, Any]]:
        """For each prepared picture the fields of its result, and the data sample."""
        return [(self._fields(sample), sample) for sample in self._samples(batch)]

    def logits(self, prepared: dict) -> Array:
        """The logits (C, H, W) of a prepared picture, at its size."""
        return to_array(self._samples([prepared])[0].seg_logits.data)

    def _samples(self, batch: list[dict]) -> list[Any]:
        """The host's data samples, on the CPU.

        Raises:
            MemoryError: The device has too little memory.
            ConfigError: The model predicts something else than its kind.
        """
        height, width = batch[0]['inputs'].shape[1:]
        about = f'{len(batch)} of {width}x{height} pixels at a time'
        remedy = 'use a smaller batch size, smaller tiles, or another device'
        memory = explain_memory(about, remedy)
        with memory, in_scope(self.scope), torch.inference_mode():
            samples = self.module.test_step(pseudo_collate(batch))
        if any(self.key not in sample for sample in samples):
            raise ConfigError(
                f'{type(self.module).__name__} gives {", ".join(samples[0].keys())} '
                f'without {self.key}: give a classifier, an object detector or a '
                'semantic segmentor.'
            )
        return [sample.cpu() for sample in samples]

    def _fields(self, sample: Any) -> tuple:
        if self.kind is Classification:
            scores = to_array(sample.pred_score).astype(np.float32)
            return int(scores.argmax()), scores
        if self.kind is Segmentation:
            return (to_array(sample.pred_sem_seg.data).squeeze(0),)
        instances = sample.pred_instances
        scores = to_array(instances.scores)
        order = np.argsort(-scores, kind='stable')
        order = order[scores[order] >= self.min_score]
        crops = None
        if 'masks' in instances:
            masks = instances.masks
            crops = to_crops(
                [masks[i] for i in order]
                if isinstance(masks, list)
                else to_array(masks)[order]
            )
        labels, boxes = (to_array(x) for x in (instances.labels, instances.bboxes))
        return Objects(labels[order], scores[order], boxes[order], crops)


def in_scope(scope: str | None) -> Any:
    """Let a config's host find the types that are named without a scope."""
    return DefaultScope.overwrite_default_scope(scope)


def build_model(cfg: Config) -> nn.Module:
    """The model of a config, as mmengine's Runner builds it."""
    if cfg.get('data_preprocessor'):
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return MODELS.build(cfg.model)


def skip_low_scores(settings: dict, min_score: float) -> None:
    """Raise the score threshold of a model with two stages to `min_score`, in place.

    The masks of objects that are left out need not be computed then. NMS lets no object
    suppress a better one, so the others stay the same. Detectors of one stage are left
    as they are: some of them average boxes over those with lower scores (PAA).
    """
    stage = (settings.get('test_cfg') or {}).get('rcnn') or {}
    if stage.get('score_thr') is not None:
        stage['score_thr'] = max(stage['score_thr'], min_score)


def usable_device(device: str | None) -> str:
    """The device, or by default a GPU if torch finds one.

    Raises:
        ConfigError: torch has no such device here.
    """
    if device is None:
        return 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0].rstrip('.')
        raise ConfigError(
            f'device={device} cannot be used ({reason}): give cpu, or leave it out.'
        ) from None
    return device


@contextmanager
def explain_memory(batch: str, remedy: str) -> Iterator[None]:
    """Raise `MemoryError` for a `batch` that the device has too little memory for.

    Args:
        batch: What was run.
        remedy: What to do then, such as 'use another device'.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(
            f'there is too little memory for {batch}: {remedy}.'
        ) from None


def refuse_multi_label(model: nn.Module) -> None:
    """Raise `ConfigError` for a classifier that gives a picture several classes."""
    heads = {base.__name__ for part in model.children() for base in type(part).__mro__}
    if 'MultiLabelClsHead' in heads:
        raise ConfigError(
            'the classifier gives a picture several classes, which is not supported: '
            'give one with a single class for a picture.'
        )


def kind_of(model: nn.Module) -> tuple[type[Result], str]:
    """What a model predicts, and under which key of its data sample.

    The host of its class, or of a base of it, tells.

    Raises:
        ConfigError: It is no classifier, detector or segmentor of a host.
    """
    for base in type(model).__mro__:
        host = base.__module__.partition('.')[0]
        if host in RESULTS:
            return RESULTS[host]
    raise ConfigError(
        f'{type(model).__name__} is no model of {", ".join(RESULTS)}: give the config '
        'of a classifier, detector or segmentor.'
    )
