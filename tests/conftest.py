"""Two threads in all, so that figures and times do not depend on the machine; without
a GPU, Triton kernels run in its interpreter."""

import os
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import settings
from mmengine.config import utils

# Two processes of pytest-xdist with two threads each would wait for each other.
THREADS = 1 if 'PYTEST_XDIST_WORKER' in os.environ else 2
torch.set_num_threads(THREADS)
os.environ['OMP_NUM_THREADS'] = str(THREADS)  # of programs that tests start
if not torch.cuda.is_available():
    os.environ['TRITON_INTERPRET'] = '1'  # read when a kernel is defined
# mmengine parses all metafiles of a host again for each `mmdet::` in a config.
utils.load = cache(utils.load)

# A machine that others use too has no deadline. `default` draws the same cases every
# time; `long` (`make test-long`) draws others each time, keeps those that failed in
# .hypothesis/ and prints how to repeat them.
settings.register_profile('default', deadline=None, max_examples=25, derandomize=True)
settings.register_profile('long', deadline=None, max_examples=300, print_blob=True)
settings.load_profile('default')  # `pytest --hypothesis-profile` loads another


@pytest.fixture(scope='session')
def work_dir(tmp_path_factory):
    """Returns the work dir of a task, made once: a dumped config and a checkpoint."""
    # Imported here, after the settings above.
    from small_models import HOSTS, write_work_dir

    made: dict[str, Path] = {}

    def make(task: str) -> Path:
        pytest.importorskip(HOSTS[task])
        if task not in made:
            made[task] = write_work_dir(task, tmp_path_factory.mktemp(task))
        return made[task]

    return make


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


@pytest.fixture(scope='session')
def per_class_dir(tmp_path_factory):
    """The work dir of a classifier with one token for each class."""
    pytest.importorskip('mmpretrain')
    from small_models import build_model, small_config

    cfg = small_config('classifier')
    count = cfg.model.head.num_classes
    cfg.model.neck.num_tokens = count
    cfg.model.head = dict(
        type='mmpatchconvnet.PerTokenLinearHead', num_classes=count, in_channels=128
    )
    folder = tmp_path_factory.mktemp('per_class')
    cfg.dump(folder / 'config.py')
    meta = dict(dataset_meta=dict(cfg.test_dataloader.dataset.metainfo))
    content = dict(state_dict=build_model(cfg).state_dict(), meta=meta)
    torch.save(content, folder / 'iter_8.pth')
    return folder


@pytest.fixture
def quick(monkeypatch) -> None:
    """Trainings without what takes longest.

    That is a description of the machine, and the format of the config in the log.
    """
    monkeypatch.setattr(
        'mmpatchconvnet.engine.launch.write_environment', lambda runner: None
    )
    monkeypatch.setattr(
        'yapf.yapflib.yapf_api.FormatCode', lambda text, **_: (text, True)
    )
