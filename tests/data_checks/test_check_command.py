"""`mmpatchconvnet check`: every file, a report, and a sheet of samples."""

import io
import os
import re
import sys

import cv2
import numpy as np
import pytest
import small_data

from mmpatchconvnet import cli
from mmpatchconvnet.cli.check import run
from mmpatchconvnet.data_checks.picture_files import Header
from mmpatchconvnet.data_checks.samples import to_rgb

LAYOUTS = [
    pytest.param('folders', 'fruit +4 +50.0%', marks=pytest.mark.cls),
    pytest.param('maps', r'fruit +1,600 +25.0%', marks=pytest.mark.seg),
    pytest.param('coco', r'fruit +4 +50.0%', marks=pytest.mark.det),
]


def write(layout, folder):
    root = getattr(small_data, f'write_{layout}')(folder / 'data')
    cfg = getattr(small_data, f'{layout}_config')(root)
    cfg.dump(folder / 'config.py')
    return root


def check(folder, capsys, status=0):
    out = folder / 'sheets' / 'samples.png'
    settings = dict(config=str(folder / 'config.py'), out=out)
    if status:
        with pytest.raises(SystemExit) as caught:
            run(**settings)
        assert caught.value.code == status
    else:
        run(**settings)
    return capsys.readouterr().out, out


@pytest.mark.parametrize(('layout', 'share'), LAYOUTS)
def test_sound_data_are_counted_and_drawn(layout, share, tmp_path, capsys):
    write(layout, tmp_path)
    text, sheet = check(tmp_path, capsys)
    assert re.search(share, text), text
    assert text.count('no faults') == 2  # training and validation
    assert 'pictures of 40 x 40' in text
    assert re.search(r'\d+ samples are drawn in \S+samples.png\.', text)
    drawn = cv2.imread(str(sheet))
    assert drawn.shape[1] > 500
    assert np.ptp(drawn, axis=(0, 1)).min() > 200


@pytest.mark.parametrize(('layout', 'share'), LAYOUTS)
def test_a_broken_file_that_no_quick_check_opens_is_found(
    layout, share, tmp_path, capsys, monkeypatch
):
    root = write(layout, tmp_path)
    monkeypatch.setattr('mmpatchconvnet.data_checks.layout.MAX_OPENED', 1)
    file = sorted((root / 'images' if layout != 'folders' else root).rglob('*.*g'))[1]
    file.write_bytes(file.read_bytes()[:500])
    cfg = getattr(small_data, f'{layout}_config')(root)
    assert small_data.sentences(cfg, stops=True) == ''
    text, sheet = check(tmp_path, capsys, status=1)
    assert re.search(
        rf"1 of \d+ opened pictures that cannot be read .*{file.name}'", text
    )
    assert re.search(rf'worst files:\n +\S*{file.name}: 1 that cannot be read', text)
    assert sheet.is_file()


@pytest.mark.det
def test_dropped_objects_and_their_sizes_are_told(tmp_path, capsys):
    def edit(content, split):
        content['annotations'][0]['area'] = 0
        content['annotations'][1]['area'] = 5000
        content['annotations'][2]['area'] = 10000

    cfg = small_data.coco_config(small_data.write_coco(tmp_path / 'data', edit))
    cfg.dump(tmp_path / 'config.py')
    text, _ = check(tmp_path, capsys)
    assert '1 of 8 objects dropped by mmdet: 1 with an area of 0' in text
    assert re.search('5 small .*, 1 medium, 1 large', text)


@pytest.mark.det
def test_a_sheet_that_cannot_be_drawn_is_no_traceback(tmp_path, capsys):
    def edit(content, split):
        for one in content['annotations']:
            one.pop('bbox')

    cfg = small_data.coco_config(small_data.write_coco(tmp_path / 'data', edit))
    cfg.dump(tmp_path / 'config.py')
    text, sheet = check(tmp_path, capsys, status=1)
    assert '8 of 8 annotations without bbox' in text
    assert "No samples are drawn (KeyError: 'bbox')." in text
    assert not sheet.exists()


@pytest.mark.seg
def test_a_sample_that_cannot_be_drawn_leaves_the_others(tmp_path, capsys):
    root = write('maps', tmp_path)
    file = sorted((root / 'labels' / 'train').iterdir())[0]
    cv2.imwrite(str(file), cv2.imread(str(file)))  # now of three channels
    text, sheet = check(tmp_path, capsys, status=1)
    assert 'without 1 that could not be drawn.' in text and sheet.is_file()


@pytest.mark.seg
def test_classes_without_a_pixel_are_told(tmp_path, capsys):
    write('maps', tmp_path)
    cfg = small_data.maps_config(
        tmp_path / 'data', metainfo=dict(classes=('soil', 'leaf', 'fruit', 'bark'))
    )
    cfg.dump(tmp_path / 'config.py')
    text, _ = check(tmp_path, capsys)
    assert 'warning' in text and 'no pixel of bark in 4 label maps' in text


def test_inputs_of_any_number_of_bands_become_pictures():
    blue = np.zeros((3, 2, 4), np.uint8)
    blue[0] = 200
    assert to_rgb(blue)[0, 0].tolist() == [0, 0, 200]
    for bands in (1, 2, 5):
        values = np.linspace(-3, 900, bands * 8, dtype=np.float32).reshape(bands, 2, 4)
        picture = to_rgb(values)
        assert picture.shape == (2, 4, 3) and picture.dtype == np.uint8
        assert picture.min() < 20 and picture.max() > 100
    assert to_rgb(np.full((1, 2, 2), np.nan, np.float32)).max() == 0


def test_a_header_tells_the_size_as_loaded():
    turned = Header(4, 3, 'RGB', 6)
    assert turned.loaded_size(orients=True) == (3, 4)
    assert turned.loaded_size(orients=False) == (4, 3)


@pytest.mark.seg
@pytest.mark.parametrize('planes', [False, True])
def test_pictures_of_many_bands_are_read_as_the_pipeline_reads_them(
    planes, tmp_path, capsys
):
    tifffile = pytest.importorskip('tifffile')
    root = write('maps', tmp_path)
    for path in list(root.glob('images/*/*.jpg')):
        path.unlink()
        bands = np.random.default_rng(0).random((40, 40, 5), np.float32)
        settings = dict(photometric='minisblack', planarconfig='contig')
        tifffile.imwrite(
            path.with_suffix('.tif'), bands, **(settings if planes else {})
        )
    load = dict(
        type='LoadImageFromFile', color_type='unchanged', imdecode_backend='tifffile'
    )
    cfg = small_data.maps_config(root, img_suffix='.tif')
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.pipeline[0] = load
    cfg.dump(tmp_path / 'config.py')
    assert small_data.sentences(cfg, stops=True) == ''
    text, sheet = check(tmp_path, capsys)
    assert text.count('no faults') == 2
    assert 'pictures of 40 x 40' in text
    assert sheet.is_file()
    next(root.glob('images/train/*')).write_bytes(b'II*not a picture')
    text, _ = check(tmp_path, capsys, status=1)
    assert re.search('1 of 4 opened pictures that cannot be read', text)


@pytest.mark.cls
def test_names_that_are_not_utf8_are_printed_with_escapes(tmp_path, monkeypatch):
    root = small_data.write_folders(tmp_path / 'data')
    for split in small_data.SPLITS:
        (root / split / 'leaf').rename(root / split / os.fsdecode(b'leaf\xff'))
    small_data.folders_config(root).dump(tmp_path / 'config.py')
    stdout = io.TextIOWrapper(io.BytesIO(), 'utf-8')
    monkeypatch.setattr(sys, 'stdout', stdout)
    arguments = ['check', str(tmp_path / 'config.py'), f'--work-dir={tmp_path}']
    monkeypatch.setattr(sys, 'argv', ['mmpatchconvnet', *arguments])
    cli.main()
    stdout.flush()
    assert rb'leaf\udcff' in stdout.buffer.getvalue()
