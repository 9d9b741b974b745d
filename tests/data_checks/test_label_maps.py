"""Faults of pictures with label maps, each named before training."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_data import SIZE, maps_config, save_gray, sentences, write_maps

pytestmark = pytest.mark.seg
TRAIN = 'train_dataloader'


def as_mode(mode):
    def save(labels, path):
        gray = Image.fromarray(labels)
        if mode == 'LA':
            gray.putalpha(255)
            return gray.save(path)
        if mode == 'P':
            palette = Image.fromarray(labels, 'P')
            palette.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
            return palette.save(path)
        if mode == 'I;16':
            return Image.fromarray(labels.astype(np.uint16)).save(path)
        return Image.merge('RGB', [gray] * 3).save(path)

    return save


def change(how):
    return lambda labels, path: save_gray(how(labels).astype(np.uint8), path)


@pytest.mark.parametrize('save', [save_gray, as_mode('P'), as_mode('I;16')])
def test_maps_that_the_host_reads_have_no_faults(tmp_path, save):
    cfg = maps_config(write_maps(tmp_path, save))
    assert sentences(cfg, stops=True) == sentences(cfg, stops=False) == ''


@pytest.mark.parametrize(
    ('save', 'message'),
    [
        (as_mode('RGB'), r'equal channels \(mode RGB\).*getchannel\(0\)'),
        (as_mode('LA'), r'equal channels \(mode LA\)'),
        (
            lambda labels, path: Image.fromarray(
                np.stack([labels, labels * 0, labels * 9], -1)
            ).save(path),
            r'of colours \(mode RGB\)',
        ),
        (change(lambda labels: labels[:20]), 'of another size than their picture'),
        (change(lambda labels: labels + 1), 'label 3 .*the 3 classes, numbered from 0'),
        (lambda labels, path: path.write_bytes(b''), 'label maps of 0 bytes'),
        (lambda labels, path: path.write_bytes(b'text'), 'cannot be read'),
        (lambda labels, path: None, 'label maps missing'),
    ],
)
def test_faults_of_maps_are_named_with_the_first_file(tmp_path, save, message):
    text = sentences(maps_config(write_maps(tmp_path, save)), True, TRAIN)
    assert re.search(rf"4 of 4 .*{message.partition('.*')[0]}.*/0\.png'", text), text
    assert re.search(message, text) and '\n' not in text, text


@pytest.mark.parametrize(
    ('labels', 'reduced', 'remedy'),
    [
        ((0, 255), False, 'coin in 4 label maps.*write 1 instead of 255'),
        ((1, 255), True, 'coin in 4 label maps.*write 2 instead of 255'),
        ((0, 0), False, 'coin in 4 label maps: paint it'),
        ((0, 0), True, 'background, coin in 4 label maps'),
        ((0, 1), False, ''),
        ((1, 2), True, ''),
    ],
)
def test_a_class_painted_as_255_is_named(tmp_path, labels, reduced, remedy):
    def save(values, path):
        save_gray(np.where(values == 1, labels[1], labels[0]).astype(np.uint8), path)

    cfg = maps_config(
        write_maps(tmp_path, save),
        metainfo=dict(classes=('background', 'coin')),
        reduce_zero_label=reduced,
    )
    text = sentences(cfg, True, TRAIN)
    assert re.search(remedy, text) if remedy else text == '', text


def test_a_rare_class_is_searched_in_further_maps(tmp_path, monkeypatch):
    monkeypatch.setattr('mmpatchconvnet.data_checks.layout.MAX_OPENED', 2)

    def save(values, path):
        rare = path.name == '1.png'  # not among those that are opened first
        save_gray(np.where(values == 1, rare, 255 * (values == 2)).astype('u1'), path)

    cfg = maps_config(
        write_maps(tmp_path, save), metainfo=dict(classes=('background', 'coin'))
    )
    assert sentences(cfg, True, TRAIN) == ''


@pytest.mark.parametrize('unlabelled', [0, 255])
def test_a_class_that_was_not_seen_is_an_error_only_if_that_is_sure(
    tmp_path, monkeypatch, unlabelled
):
    monkeypatch.setattr('mmpatchconvnet.data_checks.layout.MAX_OPENED', 2)
    monkeypatch.setattr('mmpatchconvnet.data_checks.label_maps.MAX_SEARCHED', 1)

    def save(values, path):
        save_gray(np.where(values == 2, unlabelled, 0).astype('u1'), path)

    cfg = maps_config(
        write_maps(tmp_path, save), metainfo=dict(classes=('background', 'coin'))
    )
    told = 'no pixel of coin in 3 label maps'
    assert told in sentences(cfg, unlabelled == 255, TRAIN)
    assert sentences(cfg, unlabelled != 255, TRAIN) == ''


def test_pictures_with_another_suffix_are_counted(tmp_path):
    cfg = maps_config(write_maps(tmp_path))
    for path in list(tmp_path.glob('images/train/[01].jpg')):
        path.rename(path.with_suffix('.JPG'))
    told = sentences(cfg, False, TRAIN)
    assert re.search("2 of 4 files that do not end in .jpg.* '0.JPG'", told)
    assert re.search("2 of 4 files of label maps without a picture .* '0.png'", told)
    cfg.train_dataloader.dataset.img_suffix = '.webp'
    assert re.search(r'holds no \*.webp: set', sentences(cfg, True, TRAIN))


def test_a_picture_that_exif_turns_must_fit_its_map(tmp_path):
    cfg = maps_config(write_maps(tmp_path, change(lambda labels: labels[:20])))
    exif = Image.Exif()
    exif[0x0112] = 8
    for path in tmp_path.rglob('*.jpg'):
        Image.new('RGB', (SIZE, 20)).save(path, exif=exif)
    assert 'EXIF' in sentences(cfg, True, TRAIN)
    cfg.train_dataloader.dataset.pipeline[0].color_type = 'color_ignore_orientation'
    assert sentences(cfg, True, TRAIN) == ''


@pytest.mark.parametrize(
    'settings',
    [
        dict(seg_map_suffix='.npy', data_prefix=dict(img_path='images/train')),
        dict(img_suffix=('.jpg', '.png')),
        dict(pipeline=[dict(type='OwnTransform')]),  # it may read colours
        dict(type='ADE20KDataset'),  # published
    ],
)
def test_maps_that_are_read_otherwise_pass(tmp_path, settings):
    root = write_maps(tmp_path, change(lambda labels: labels + 200))
    assert sentences(maps_config(root, **settings), True, TRAIN) == ''


def test_labels_that_the_loss_ignores_pass(tmp_path):
    cfg = maps_config(write_maps(tmp_path), metainfo=dict(classes=('soil', 'leaf')))
    assert 'label 2 ' in sentences(cfg, True, TRAIN)
    cfg.model = dict(decode_head=dict(ignore_index=2))
    assert sentences(cfg, True, TRAIN) == ''


def test_a_file_of_names_is_followed(tmp_path):
    cfg = maps_config(write_maps(tmp_path), ann_file='list.txt')
    Path(tmp_path, 'list.txt').write_text('0\n1\ngone\n')
    assert re.search(r'1 of 3 pictures missing .*gone.jpg', sentences(cfg, True, TRAIN))


def test_maps_larger_than_pillow_allows_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    cfg = maps_config(write_maps(tmp_path))
    assert sentences(cfg, stops=True) == ''
    assert Image.MAX_IMAGE_PIXELS == 100


def test_label_maps_that_no_step_loads_may_be_missing(tmp_path):
    cfg = maps_config(write_maps(tmp_path))
    (tmp_path / 'labels/val/1.png').unlink()
    settings = cfg.val_dataloader.dataset
    assert 'label maps missing' in sentences(cfg, True)
    settings.pipeline = [
        step for step in settings.pipeline if step.type != 'LoadAnnotations'
    ]
    assert sentences(cfg, True) == ''
