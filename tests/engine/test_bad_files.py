"""Files that cannot be read are named, or skipped and counted."""

import pickle
import re

import numpy as np
import pytest
import small_data
from mmengine.registry import init_default_scope
from PIL import Image
from torch.utils.data import DataLoader

from mmpatchconvnet.engine.bad_files import (
    SKIPPED,
    BadDataError,
    build_guarded,
    skipped_files,
)

LAYOUTS = [
    pytest.param('folders', 'train/leaf/2.jpg', marks=pytest.mark.cls),
    pytest.param('maps', 'labels/train/2.png', marks=pytest.mark.seg),
    pytest.param('maps', 'images/train/2.jpg', marks=pytest.mark.seg),
    pytest.param('coco', 'images/train/train_2.png', marks=pytest.mark.det),
]
SPOILED = {
    'empty': (lambda path: path.write_bytes(b''), 'is an empty file'),
    'missing': (lambda path: path.unlink(), 'does not exist'),
    'truncated': (lambda path: path.write_bytes(path.read_bytes()[:-40]), 'cannot be'),
    'text': (lambda path: path.write_bytes(b'text'), 'cannot be read'),
}


def config_of(layout, root):
    getattr(small_data, f'write_{layout}')(root)
    cfg = getattr(small_data, f'{layout}_config')(root)
    init_default_scope(cfg.default_scope)
    return cfg


def no_tensors(batch):
    return batch


def read(dataset, workers=0):
    return list(DataLoader(dataset, 2, num_workers=workers, collate_fn=no_tensors))


@pytest.mark.parametrize(('layout', 'file'), LAYOUTS)
@pytest.mark.parametrize('fault', SPOILED)
def test_a_bad_file_is_named_or_skipped(layout, file, fault, tmp_path):
    settings = config_of(layout, tmp_path).train_dataloader.dataset
    dataset = build_guarded(settings, None, 'train')
    skipping = build_guarded(settings, tmp_path / SKIPPED, 'train')
    count = len(read(skipping))
    spoil, why = SPOILED[fault]
    spoil(tmp_path / file)
    with pytest.raises(BadDataError, match=rf'^\S*{file} {why}[^\n]*--skip-bad-files'):
        read(dataset)
    assert len(read(skipping)) == count  # another sample takes its place
    assert [line.partition(' ')[0] for line in skipped_files(tmp_path)] == [
        str(tmp_path / file)
    ]


@pytest.mark.cls
def test_workers_name_and_count_files_too(tmp_path):
    settings = config_of('folders', tmp_path).train_dataloader.dataset
    for name in ('fruit/0', 'leaf/3'):
        (tmp_path / f'train/{name}.jpg').write_bytes(b'')
    with pytest.raises(BadDataError) as caught:
        read(build_guarded(settings, None, 'train'), workers=2)
    assert re.match(r'\S*train/\w+/\d.jpg is an empty file: copy', str(caught.value))
    dataset = build_guarded(settings, tmp_path / SKIPPED, 'train')
    for _ in range(2):  # each file counts once
        assert len(read(dataset, workers=2)) == 4
    assert len(skipped_files(tmp_path)) == 2


@pytest.mark.seg
def test_no_other_sample_replaces_a_bad_one_in_validation(tmp_path):
    settings = config_of('maps', tmp_path).val_dataloader.dataset  # as mmseg's own,
    assert 'test_mode' not in settings  # which would replace it
    (tmp_path / 'labels/val/1.png').unlink()
    dataset = build_guarded(settings, tmp_path / SKIPPED, 'val')
    assert len(dataset) == 3
    assert re.search(r'labels/val/1.png does not exist', skipped_files(tmp_path)[0])


@pytest.mark.cls
def test_data_without_a_good_file_ends(tmp_path, monkeypatch):
    monkeypatch.setattr('mmpatchconvnet.engine.bad_files.MAX_SKIPPED', 5)
    settings = config_of('folders', tmp_path).train_dataloader.dataset
    for path in tmp_path.glob('train/*/*'):
        path.write_bytes(b'')
    with pytest.raises(BadDataError, match=r'5 files in a row .*is an empty file'):
        read(build_guarded(settings, tmp_path / SKIPPED, 'train'))


@pytest.mark.det
def test_a_data_set_that_its_filters_empty_is_named(tmp_path):
    settings = config_of('coco', tmp_path).train_dataloader.dataset
    settings.filter_cfg = dict(min_size=1000)
    with pytest.raises(BadDataError, match=r'train_dataloader is empty .*filter_cfg'):
        build_guarded(settings, None, 'train')


@pytest.mark.cls
def test_data_sets_in_wrappers_are_guarded_and_can_be_sent_to_workers(tmp_path):
    inner = config_of('folders', tmp_path).train_dataloader.dataset
    twice = dict(type='ConcatDataset', datasets=[inner, inner])
    settings = dict(type='RepeatDataset', times=2, dataset=twice)
    dataset = pickle.loads(pickle.dumps(build_guarded(settings, None, 'train')))
    (tmp_path / 'train/fruit/1.jpg').unlink()
    with pytest.raises(BadDataError, match=r'fruit/1.jpg does not exist'):
        read(dataset)


@pytest.mark.cls
def test_other_errors_stay_as_they_are(tmp_path):
    settings = config_of('folders', tmp_path).train_dataloader.dataset
    settings.pipeline += [dict(type='ResizeEdge', scale=8)]  # too late
    with pytest.raises(AssertionError, match=r'img'):
        read(build_guarded(settings, None, 'train'))


@pytest.mark.seg
def test_wrappers_count_what_is_left_for_validation(tmp_path):
    inner = config_of('maps', tmp_path).val_dataloader.dataset
    settings = dict(type='ConcatDataset', datasets=[inner, inner])
    (tmp_path / 'images/val/1.jpg').unlink()
    dataset = build_guarded(settings, tmp_path / SKIPPED, 'val')
    assert len(read(dataset)) == 3  # batches of 6 samples


@pytest.mark.seg
def test_label_maps_that_no_step_loads_may_be_missing(tmp_path):
    settings = config_of('maps', tmp_path).val_dataloader.dataset
    settings.pipeline = [
        step for step in settings.pipeline if step.type != 'LoadAnnotations'
    ]
    (tmp_path / 'labels/val/1.png').unlink()
    assert len(read(build_guarded(settings, None, 'test'))) == 2


@pytest.mark.cls
@pytest.mark.parametrize(
    ('name', 'skips', 'told'),
    [('val', False, True), ('val', True, False), ('test', False, False)],
)
def test_skipping_is_named_only_where_it_helps(tmp_path, name, skips, told):
    settings = config_of('folders', tmp_path).val_dataloader.dataset
    (tmp_path / 'val/leaf/1.jpg').write_bytes(b'text')
    dataset = build_guarded(settings, tmp_path / SKIPPED if skips else None, name)
    with pytest.raises(BadDataError, match=r'leaf/1.jpg cannot be read') as caught:
        read(dataset)
    assert ('--skip-bad-files' in str(caught.value)) == told


@pytest.mark.seg
@pytest.mark.parametrize('size', [(1, 1), (1, 200)])
def test_a_picture_that_is_too_small_for_a_step_is_named(tmp_path, size):
    settings = config_of('maps', tmp_path).train_dataloader.dataset
    small_data.save_gray(np.zeros(size, np.uint8), tmp_path / 'labels/train/2.png')
    Image.new('RGB', size[::-1]).save(tmp_path / 'images/train/2.jpg')
    dataset = build_guarded(settings, None, 'train')
    told = rf'train/2.jpg of {size[1]} x {size[0]} pixels .* is too small for \w+ \('
    with pytest.raises(BadDataError, match=rf'{told}.*: copy .* --skip-bad-files'):
        read(dataset)
    skipping = build_guarded(settings, tmp_path / SKIPPED, 'train')
    assert read(skipping)
    assert len(skipped_files(tmp_path)) == 1
