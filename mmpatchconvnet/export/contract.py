"""What an exported file says about itself, so that a `Predictor` can run it.

A JSON object under the key `mmpatchconvnet` of the file's metadata:

- `version`: 1;
- `task`: `classifier`, `segmentor` or `detector`;
- `classes`, `palette`: as those of `Predictor`;
- `steps`: the resizing and cropping of the test pipeline, see `exported_steps`;
- `preprocess`: `mean`, `std`, `to_rgb`, `divisor` and `value` of the padding; null if
  the graph does this itself;
- `align_corners`, `threshold` of segmentors, `mask_threshold` of detectors.
"""

import json
from typing import Any

import numpy as np

from mmpatchconvnet.export.preprocess import Preprocess
from mmpatchconvnet.inference.exported_model import KINDS, METADATA, VERSION
from mmpatchconvnet.inference.host_model import HostModel
from mmpatchconvnet.inference.model_files import kind_of_step
from mmpatchconvnet.inference.results import Classification, Segmentation

STEPS = dict(
    Resize=('scale', 'scale_factor', 'keep_ratio', 'interpolation', 'backend'),
    ResizeEdge=('scale', 'edge', 'interpolation', 'backend'),
    CenterCrop=('crop_size',),
)
IGNORED = ('_scope_', 'type', 'clip_object_border')


def describe(host: HostModel, preprocess: bool) -> dict[str, str]:
    """The metadata of an exported model.

    Args:
        host: The model, as a `Predictor` opens it.
        preprocess: Whether the graph normalizes and pads by itself.

    Raises:
        ValueError: A step of the test pipeline, or a data preprocessor, has no
            counterpart without its host.
    """
    names = {kind: name for name, kind in KINDS.items()}
    before = Preprocess(host.module.data_preprocessor)
    named = isinstance(host.palette, str)  # such as 'random'
    palette = np.array(host.palette)
    says: dict[str, Any] = dict(
        version=VERSION,
        task=names[host.kind],
        classes=list(host.classes),
        palette=None if named or host.palette is None else palette.tolist(),
        steps=steps_of(host),
        preprocess=None if preprocess else numbers_of(before),
    )
    if host.kind is Segmentation:
        says['align_corners'] = bool(host.module.align_corners)
        says['threshold'] = host.module.decode_head.threshold
    elif host.kind is not Classification and host.module.roi_head.with_mask:
        settings = host.module.roi_head.test_cfg
        says['mask_threshold'] = settings.get('mask_thr_binary', 0.5)
    return {METADATA: json.dumps(says)}


def numbers_of(before: Preprocess) -> dict[str, Any]:
    """Normalization and padding as numbers."""
    mean, std = ([0.0], [1.0])
    if before.normalize:
        mean, std = (x.flatten().tolist() for x in (before.mean, before.std))
    padding = dict(divisor=before.divisor, value=before.value)
    return dict(mean=mean, std=std, to_rgb=before.swap, **padding)


def steps_of(host: HostModel) -> list[dict[str, Any]]:
    """The steps of a test pipeline that change the picture.

    Raises:
        ValueError: A step or an argument that is not in `STEPS`.
    """
    if host.pipeline.keeps_loader or host.pipeline.as_float:
        raise ValueError(
            'the loader of the config reads other pixels than a colour picture of 8 '
            'bits: use LoadImageFromFile with color_type="color" and without '
            'to_float32 to export it.'
        )
    found = []
    for step in host.pipeline.settings:
        name = kind_of_step(step)
        if name.startswith('Pack'):
            continue
        unknown = [key for key in step if key not in (*STEPS.get(name, ()), *IGNORED)]
        if name not in STEPS or unknown:
            of = f'{", ".join(unknown)} of {name}' if name in STEPS else name
            raise ValueError(
                f'{of} in the test pipeline cannot be exported: use '
                f'{", ".join(STEPS)} there, or export the maps with --features.'
            )
        chosen = {key: step[key] for key in STEPS[name] if step.get(key) is not None}
        found.append(dict(type=name, **chosen))
    return found
