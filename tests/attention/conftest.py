"""A classifier with one token per class."""

import pytest
import torch


@pytest.fixture(scope='session')
def per_class_dir(tmp_path_factory):
    """Its work dir, as a training leaves it."""
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
