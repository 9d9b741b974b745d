import os

import cv2
import numpy as np
import pytest

from mmpatchconvnet.inference.pictures import PictureError
from mmpatchconvnet.inference.sources import open_source


def write(folder, *names):
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((4, 6, 3), number, np.uint8))
    return folder


def names(source, **settings):
    return [picture.relative for picture in open_source(source, **settings)]


def test_a_picture(tmp_path):
    write(tmp_path, 'a b.PNG')
    source = open_source(tmp_path / 'a b.PNG')
    assert source.count == 1
    (picture,) = source
    assert picture.file == str(tmp_path / 'a b.PNG') and picture.relative == 'a b.PNG'
    assert names(str(tmp_path / 'a b.PNG')) == ['a b.PNG']


def test_a_folder_in_natural_order(tmp_path):
    write(tmp_path, 'img10.png', 'img9.JPG', 'in/img1.png', '.hidden.png')
    write(tmp_path / '.ipynb_checkpoints', 'img9-checkpoint.png')
    (tmp_path / 'notes.txt').write_text('no picture')
    assert names(tmp_path) == ['img9.JPG', 'img10.png']
    assert names(tmp_path, recursive=True) == ['img9.JPG', 'img10.png', 'in/img1.png']
    assert open_source(tmp_path, recursive=True).count == 3


def test_a_glob(tmp_path):
    write(tmp_path, 'day 1/a.png', 'day 2/a.png', 'day 2/notes.tif', 'night/a.png')
    (tmp_path / 'day 1/a.txt').touch()
    assert names(str(tmp_path / 'day*/*')) == [
        'day 1/a.png',
        'day 2/a.png',
        'day 2/notes.tif',
    ]
    assert len(names(str(tmp_path / '**/*.png'))) == 3


def test_a_folder_whose_name_looks_like_a_glob(tmp_path):
    write(tmp_path / 'set [1]', 'a.png')
    assert names(str(tmp_path / 'set [1]')) == ['a.png']


def test_a_list_file(tmp_path):
    write(tmp_path, 'x/a.png', 'y/a.png')
    listed = tmp_path / 'list.txt'
    listed.write_text(f'# two\nx/a.png\n\n{tmp_path}/y/a.png\nx/none.png\n')
    *pictures, error = open_source(listed)
    assert [picture.relative for picture in pictures] == ['x/a.png', 'y/a.png']
    assert isinstance(error, PictureError) and 'none.png' in str(error)


def test_a_video(tmp_path):
    path = tmp_path / 'film.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 5, (64, 48))
    for level in (0, 100, 200):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    source = open_source(path)
    frames = list(source)
    assert source.count == len(frames) == 3
    assert [frame.relative for frame in frames] == [f'film_00000{i}' for i in range(3)]
    assert frames[1].file == f'{path}#1'
    assert abs(int(frames[1].image.mean()) - 100) < 3
    path.write_bytes(b'no video')
    with pytest.raises(ValueError, match=r'film\.avi .*convert it'):
        open_source(path)


def test_arrays(tmp_path):
    write(tmp_path, 'a.png', 'b/a.png')
    gray, color = np.zeros((4, 6), np.uint8), np.ones((5, 6, 3), np.uint8)
    (picture,) = open_source(gray)
    assert picture.image.shape == (4, 6, 3) and picture.file == 'array 0'
    mixed = [color, tmp_path / 'a.png', str(tmp_path / 'b/a.png')]
    assert open_source(mixed).count == 3
    assert names(mixed) == ['array_0', '1_a.png', '2_a.png']
    generated = open_source(array for array in (gray, color))
    assert generated.count is None
    assert [picture.image.shape[0] for picture in generated] == [4, 5]


def test_errors_leave_the_rest(tmp_path):
    write(tmp_path, 'a.png', 'c.png')
    (tmp_path / 'b.png').write_bytes(b'')
    first, error, last = open_source(tmp_path)
    assert (first.relative, last.relative) == ('a.png', 'c.png')
    assert isinstance(error, PictureError) and 'b.png is an empty file' in str(error)
    first, error = open_source([np.zeros((4, 4, 3)), np.zeros(3)])
    assert 'array 1' in str(error)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('none', r'none does not exist'),
        ('*.tif', r'\*\.tif has no pictures'),
        ('outer', r'outer has no pictures: .*--recursive'),
        ('list.txt', r'list\.txt has no pictures'),
    ],
)
def test_sources_without_pictures(name, message, tmp_path):
    write(tmp_path / 'outer', 'in/a.png')
    (tmp_path / 'list.txt').write_text('# nothing\n')
    with pytest.raises(ValueError, match=message):
        open_source(str(tmp_path / name))


def test_a_scale_must_rise():
    with pytest.raises(ValueError, match=r'scale is 9 to 3.*higher'):
        open_source(np.zeros((4, 4)), scale=(9, 3))


def test_dark_pictures_are_told_once(caplog):
    dark, bright = (np.full((4, 4), level, np.uint16) for level in (4095, 60000))
    list(open_source([0 * dark, bright, dark, dark]))
    list(open_source([dark], scale=(0, 4095)))
    (line,) = caplog.messages
    assert line.startswith('array 2 ') and '--scale 0 4095' in line


def test_folders_are_left_out_within_the_source_only(tmp_path):
    write(tmp_path, 'a.png', 'out/pictures/a.png', 'outer/a.png')
    skip = [tmp_path / 'out/pictures', tmp_path / 'none']
    assert names(tmp_path, recursive=True, skip=skip) == ['a.png', 'outer/a.png']
    assert names(f'{tmp_path}/**/*.png', skip=skip) == ['a.png', 'outer/a.png']
    assert names(tmp_path / 'out/pictures', skip=skip) == ['a.png']
    assert names(tmp_path, skip=[tmp_path, tmp_path.parent]) == ['a.png']


def test_a_folder_that_is_called_like_a_picture(tmp_path):
    write(tmp_path, 'a.png', 'b.png/c.png')
    (tmp_path / 'gone.png').symlink_to(tmp_path / 'none')
    first, error = open_source(tmp_path)
    assert first.relative == 'a.png' and 'gone.png cannot be opened' in str(error)


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'latin-1'])
def test_a_list_in_any_encoding(encoding, tmp_path):
    name = 'ä.png' if encoding != 'latin-1' else os.fsdecode('ä.png'.encode(encoding))
    path = tmp_path / name
    path.write_bytes(cv2.imencode('.png', np.zeros((4, 6), np.uint8))[1])
    (tmp_path / 'list.txt').write_bytes('# one\nä.png\n'.encode(encoding))
    assert names(tmp_path / 'list.txt') == [name]


def test_a_video_that_stops_midway(tmp_path, monkeypatch):
    path = tmp_path / 'film.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 5, (64, 48))
    random = np.random.default_rng(0)
    for _ in range(20):
        writer.write(random.integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    source = open_source(path)
    *frames, error = source
    assert len(frames) < 15 and source.count == 20
    assert f'stops after {len(frames)} of its 20 frames' in str(error)
