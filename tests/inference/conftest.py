"""Work dirs as a training leaves them, of small models with random weights."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from config_files import ROOT, read
from mmengine.registry import MODELS, DefaultScope

HOSTS = dict(classifier='mmpretrain', mask_rcnn='mmdet', upernet='mmseg')
NAMES = dict(classifier='classifier', mask_rcnn='mask-rcnn', upernet='upernet')


@pytest.fixture(scope='session')
def work_dir(tmp_path_factory):
    """Returns the work dir of a task, made once: a dumped config and a checkpoint."""
    made: dict[str, Path] = {}

    def make(task: str) -> Path:
        pytest.importorskip(HOSTS[task])
        if task not in made:
            made[task] = write_work_dir(task, tmp_path_factory.mktemp(task))
        return made[task]

    return make


def write_work_dir(task: str, folder: Path) -> Path:
    name = f'{NAMES[task]}_patchconvnet-tiny_scenes'
    cfg = read(ROOT / f'configs/demo/{name}.py')
    backbone = cfg.model.backbone
    backbone.arch.depth = 4
    if 'out_indices' in backbone:
        backbone.out_indices = (0, 1, 2, 3)
    if task == 'mask_rcnn':  # fewer objects to find
        cfg.model.test_cfg.rpn.max_per_img = 100
        cfg.model.test_cfg.rcnn.max_per_img = 20
    cfg.dump(folder / f'{name}.py')
    if cfg.get('data_preprocessor'):
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    meta = dict(dataset_meta=dict(cfg.test_dataloader.dataset.metainfo))
    content = dict(state_dict=model.state_dict(), meta=meta)
    torch.save(content, folder / 'iter_8.pth')
    return folder


@pytest.fixture(scope='session')
def pictures(tmp_path_factory):
    """A folder with spaces: five pictures of two sizes, and a file that is none."""
    folder = tmp_path_factory.mktemp('some pictures')
    random = np.random.default_rng(0)
    for number in range(5):
        size = (64, 96, 3) if number < 3 else (80, 64, 3)
        small = random.integers(0, 256, (8, 8, 3), np.uint8)
        image = cv2.resize(small, size[1::-1], interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f'{number}.png'), image)
    (folder / 'notes.txt').write_text('not a picture')
    return folder
