"""Faults of class folders, each named before training."""

import re

import cv2
import numpy as np
import pytest
from small_data import folders_config, sentences, write_folders

from mmpatchconvnet.data_checks.whole import check_everything

pytestmark = pytest.mark.cls
TRAIN = 'train_dataloader'


def test_sound_folders_have_no_faults(tmp_path):
    cfg = folders_config(write_folders(tmp_path))
    assert sentences(cfg, stops=True) == sentences(cfg, stops=False) == ''


def test_hidden_folders_are_no_classes_to_the_checks_or_the_host(tmp_path):
    from mmpretrain.datasets import CustomDataset

    write_folders(tmp_path)
    hidden = [tmp_path / 'train' / sub / '.ipynb_checkpoints' for sub in ('', 'leaf')]
    for folder in hidden:
        folder.mkdir()
        (folder / '0-checkpoint.jpg').write_bytes(b'a copy')
    cfg = folders_config(tmp_path, metainfo=dict(classes=('fruit', 'leaf')))
    assert sentences(cfg, True, TRAIN) == ''
    told = sentences(cfg, False, TRAIN)
    assert re.search(r"1 of 3 folders hidden.*'.ipynb_checkpoints'", told)
    dataset = CustomDataset(data_root=str(tmp_path), data_prefix='train')
    assert dataset.CLASSES == ('fruit', 'leaf')
    assert len(dataset) == 8


@pytest.mark.parametrize(
    ('spoil', 'what'),
    [
        (lambda path: path.write_bytes(b''), 'pictures of 0 bytes'),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), 'cannot be read'),
        (lambda path: path.write_bytes(path.read_bytes()[:-99]), 'cannot be read'),
    ],
)
def test_bad_files_are_named(tmp_path, spoil, what):
    cfg = folders_config(write_folders(tmp_path))
    spoil(tmp_path / 'train/leaf/3.jpg')
    assert re.search(f"1 of 8 .*{what}.*leaf/3.jpg'", sentences(cfg, True, TRAIN))
    assert sentences(cfg, True, TRAIN, skip=True) == ''


def test_what_follows_the_end_of_a_jpeg_is_no_fault(tmp_path):
    cfg = folders_config(write_folders(tmp_path))
    path = tmp_path / 'train/leaf/3.jpg'
    path.write_bytes(path.read_bytes() + b'a second picture of a phone')
    assert sentences(cfg, True) == ''


def test_pictures_and_classes_that_are_left_out_are_counted(tmp_path):
    cfg = folders_config(write_folders(tmp_path))
    for path in list(tmp_path.glob('train/leaf/*')):
        path.rename(path.with_suffix('.webp'))
    told = sentences(cfg, False, TRAIN)
    assert re.search(r"4 of 8 files left out because of their suffix.*0.webp'", told)
    assert re.search(r"1 of 2 classes without a picture \(first: 'leaf'\)", told)
    cfg.train_dataloader.dataset.extensions = ('.WEBP',)
    assert "first: 'fruit'" in sentences(cfg, False, TRAIN)
    cfg.train_dataloader.dataset.extensions = ('.gif',)
    assert 'holds no pictures in folders' in sentences(cfg, True, TRAIN)


def test_both_data_sets_need_the_same_folders_if_no_names_are_set(tmp_path):
    cfg = folders_config(write_folders(tmp_path))
    (tmp_path / 'val' / 'bark').mkdir()
    assert re.search("number their folders .*'bark'", sentences(cfg, True))
    (tmp_path / 'train' / 'bark').mkdir()
    assert sentences(cfg, True) == ''


def test_classes_with_other_names_than_their_folders_are_told(tmp_path):
    """Nothing else shows that the names of two classes are swapped."""
    write_folders(tmp_path)
    cfg = folders_config(tmp_path, metainfo=dict(classes=('leaves', 'fruit tree')))
    assert sentences(cfg, False, TRAIN) == ''  # at the start of a training
    checked, _ = check_everything(cfg, lambda source: list)
    told = '\n'.join(checked[0].findings.sentences(stops=False))
    assert '2 of 2 classes named otherwise than their folders' in told
    assert "first: 'leaves' is the folder 'fruit'" in told


def test_splits_of_imagenet_are_not_taken_for_classes(tmp_path):
    cfg = folders_config(write_folders(tmp_path))
    for loader, split in ((cfg.train_dataloader, 'train'), (cfg.val_dataloader, 'val')):
        loader.dataset = dict(type='ImageNet', data_root=str(tmp_path), split=split)
    assert sentences(cfg, True) == sentences(cfg, False) == ''


def test_of_many_files_some_are_looked_for_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr('mmpatchconvnet.data_checks.layout.MAX_LOOKED_FOR', 4)
    cfg = folders_config(write_folders(tmp_path))
    for name in ('fruit/0', 'fruit/1'):  # of every two files one
        (tmp_path / f'train/{name}.jpg').write_bytes(b'')
    told = sentences(cfg, True, TRAIN)
    assert 'fruit/0.jpg' in told
    assert ' 1 of 8 pictures of 0 bytes' in told


def test_pictures_outside_of_classes_and_of_unread_formats_are_counted(tmp_path):
    cfg = folders_config(write_folders(tmp_path))
    for name in (
        'loose.jpg',
        '._loose.jpg',
        'loose.HEIC',
        'leaf/0.heic',
        'notes.txt',
        'leaf/a.xml',
    ):
        (tmp_path / 'train' / name).write_bytes(b'')
    told = sentences(cfg, False, TRAIN)
    assert re.search(r"2 loose pictures that lie in no folder.*'loose.HEIC'", told)
    assert re.search(r"1 of 10 files left out because of their suffix .*'leaf/0", told)
    assert sentences(cfg, True, TRAIN) == ''


def test_pictures_of_16_bits_that_become_8_are_told(tmp_path):
    cfg = folders_config(write_folders(tmp_path, '.png'))
    for name in ('0.png', '1.png'):
        deep = np.full((8, 8), 4000, np.uint16)
        cv2.imwrite(str(tmp_path / 'train/leaf' / name), deep)
    told = sentences(cfg, False, TRAIN)
    assert re.search(r"2 of 8 opened pictures of 16 bits.*'leaf/0.png'", told)
    (loader,) = (s for s in cfg.train_dataloader.dataset.pipeline if 'Load' in s.type)
    loader.color_type = 'unchanged'
    assert '16 bits' not in sentences(cfg, False, TRAIN)
