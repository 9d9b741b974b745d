"""Pictures of the training data with their labels, as the pipeline passes them on."""

import random
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from mmpatchconvnet.visualization.sheets import (
    SheetRow,
    chosen_palette,
    draw_samples,
    save_image,
)

COUNT = 12
MAX_TRIED = 100  # samples, to find so many that can be drawn


def draw_sample_sheet(cfg: Config, out: Path, seed: int = 0) -> str:
    """Draw random samples of the training data with their labels.

    They come from the whole pipeline: crops, flips and all.

    Args:
        cfg: A config of any host.
        out: The picture to write, ending in .png, .jpg or .webp.
        seed: Chooses the samples and seeds the pipeline.

    Returns:
        What was drawn, or why nothing was, in a sentence.
    """
    random.seed(seed)
    np.random.seed(seed)
    rows, faults = [], []
    try:
        with (
            DefaultScope.overwrite_default_scope(cfg.get('default_scope')),
            redirect_stdout(StringIO()),  # pycocotools prints
        ):
            dataset = DATASETS.build(cfg.train_dataloader.dataset)
            metainfo = dataset.metainfo
            style = metainfo['classes'], chosen_palette(metainfo)
            order = random.sample(range(len(dataset)), len(dataset))
            for index in order[:MAX_TRIED]:
                try:
                    row = to_row(dataset[index])
                    draw_samples([row], *style)  # raises here, not for the whole sheet
                    rows.append(row)
                except Exception as error:
                    faults.append(error)
                if len(rows) == COUNT:
                    break
            title = f'{len(rows)} of {len(dataset)} samples, as they are trained on'
            sheet = draw_samples(rows, *style, title)
    except Exception as error:  # whatever a host raises at faulty data
        error = faults[0] if faults else error
        line = str(error).strip().partition('\n')[0]
        return f'No samples are drawn ({type(error).__name__}: {line}).'
    out.parent.mkdir(parents=True, exist_ok=True)
    save_image(out, sheet)
    failed = f', without {len(faults)} that could not be drawn' if faults else ''
    return f'{len(rows)} samples are drawn in {out}{failed}.'


def to_row(sample: Any) -> SheetRow:
    """The picture of a packed sample in RGB, with its labels."""
    inputs, labels = sample.get('inputs'), sample.get('data_samples')
    if not hasattr(inputs, 'numpy') or inputs.ndim != 3 or labels is None:
        raise ValueError(
            'the samples are not those of one picture each, so there is no sheet of '
            'them.'
        )
    name = Path(labels.get('img_path') or '').name
    return SheetRow(to_rgb(inputs.numpy()), labels, name)


def to_rgb(inputs: np.ndarray) -> np.ndarray:
    """The input of a model (C, H, W), BGR if it has colours, as (H, W, 3) uint8 RGB.

    Of more bands the first three are shown; other values than uint8 are scaled.
    """
    bands = inputs[:3] if len(inputs) >= 3 else inputs[:1].repeat(3, axis=0)
    if len(inputs) == 3:
        bands = bands[::-1]
    if bands.dtype != np.uint8:
        finite = bands[np.isfinite(bands)]
        low, high = np.percentile(finite, (0.5, 99.5)) if finite.size else (0, 1)
        bands = np.clip((bands - low) / max(high - low, 1e-9), 0, 1)
        bands = np.nan_to_num(np.rint(255 * bands)).astype(np.uint8)
    return np.ascontiguousarray(bands.transpose(1, 2, 0))
