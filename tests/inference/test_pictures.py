import cv2
import mmcv
import numpy as np
import pytest
from PIL import Image

from mmpatchconvnet.inference.pictures import PictureError, read_picture, to_picture

RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (40, 60, 3), np.uint8)
GRAY = RGB[..., 0]
DEEP = RANDOM.integers(0, 65536, (40, 60)).astype(np.uint16)
DEEP_COLOR = RANDOM.integers(0, 65536, (40, 60, 3)).astype(np.uint16)
ALPHA = np.dstack([RGB, GRAY])
ROTATED = Image.Exif()
ROTATED[0x112] = 6


def with_pillow(array, mode=None, **settings):
    picture = Image.fromarray(array)
    picture = picture.convert(mode) if mode else picture
    return lambda path: picture.save(path, **settings)


def with_opencv(array):
    return lambda path: cv2.imwrite(str(path), array)


WRITERS = {
    'color.jpg': with_pillow(RGB),
    'color.png': with_pillow(RGB),
    'color.tif': with_pillow(RGB, compression='tiff_lzw'),
    'color.bmp': with_pillow(RGB),
    'color.webp': with_pillow(RGB, lossless=True),
    'gray.jpg': with_pillow(GRAY),
    'gray.png': with_pillow(GRAY),
    'deep.png': with_opencv(DEEP),
    'deep.tif': with_opencv(DEEP),
    'deep-color.png': with_opencv(DEEP_COLOR),
    'deep-color.tif': with_opencv(DEEP_COLOR),
    'alpha.png': with_pillow(ALPHA),
    'gray-alpha.png': with_pillow(RGB, 'LA'),
    'palette.png': with_pillow(RGB, 'P'),
    'one-bit.png': with_pillow(RGB, '1'),
    'cmyk.jpg': with_pillow(RGB, 'CMYK'),
    'cmyk.tif': with_pillow(RGB, 'CMYK'),
    'rotated.jpg': with_pillow(RGB, exif=ROTATED),
    'rotated.png': with_pillow(RGB, exif=ROTATED),
    'rotated.tif': with_pillow(RGB, exif=ROTATED),
}


@pytest.mark.parametrize('name', WRITERS)
def test_models_see_what_training_saw(name, tmp_path):
    path = tmp_path / name
    WRITERS[name](path)
    picture = read_picture(path)
    np.testing.assert_array_equal(picture.image, mmcv.imread(path))
    assert picture.image.dtype == np.uint8 and picture.image.flags.c_contiguous
    assert picture.intensity.shape == picture.image.shape[:2]
    assert picture.file == str(path) and picture.relative == name


@pytest.mark.parametrize(
    ('name', 'stored'), [('gray.png', GRAY), ('deep.png', DEEP), ('deep.tif', DEEP)]
)
def test_the_intensity_of_a_gray_picture_is_what_is_stored(name, stored, tmp_path):
    WRITERS[name](tmp_path / name)
    picture = read_picture(tmp_path / name)
    assert picture.intensity.dtype == stored.dtype
    np.testing.assert_array_equal(picture.intensity, stored)


def test_a_scale_spreads_stored_values():
    stored = np.array([[0, 100, 200, 300, 400]], np.uint16)
    picture = to_picture(stored, 'array', 'array', scale=(100, 300))
    assert picture.image[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    assert picture.intensity is stored


@pytest.mark.parametrize(
    ('stored', 'seen'),
    [
        (np.array([[False, True]]), [0, 255]),
        (np.array([[0.0, 0.5, 1.0]]), [0, 128, 255]),
        (np.array([[0.0, 100.4, 255.0]], np.float32), [0, 100, 255]),
        (np.array([[7, 255]]), [7, 255]),
        (np.array([[0.0, np.nan, 1.0]]), [0, 0, 255]),
        (np.array([[[9], [8]]], np.uint8), [9, 8]),
    ],
)
def test_arrays_of_other_types(stored, seen):
    assert to_picture(stored, 'array', 'array').image[0, :, 0].tolist() == seen


def test_real_numbers_of_a_tiff(tmp_path):
    stored = RANDOM.random((40, 60), np.float32)
    cv2.imwrite(str(tmp_path / 'real.tif'), stored)
    picture = read_picture(tmp_path / 'real.tif')
    np.testing.assert_array_equal(picture.intensity, stored)
    np.testing.assert_array_equal(picture.image[..., 2], np.round(255 * stored))


def test_several_pages_of_a_tiff(tmp_path):
    tifffile = pytest.importorskip('tifffile')
    tifffile.imwrite(tmp_path / 'pages.tif', np.stack([DEEP, DEEP + 1]))
    picture = read_picture(tmp_path / 'pages.tif')
    np.testing.assert_array_equal(picture.intensity, DEEP)


def test_more_bands_than_opencv_reads(tmp_path):
    tifffile = pytest.importorskip('tifffile')
    bands = RANDOM.integers(0, 255, (40, 60, 5), np.uint8)
    path = tmp_path / 'bands.tif'
    tifffile.imwrite(path, bands, photometric='rgb', planarconfig='contig')
    np.testing.assert_array_equal(read_picture(path).image, bands[..., 2::-1])


@pytest.mark.parametrize('name', ['color.jpg', 'color.png', 'color.tif', 'color.webp'])
@pytest.mark.parametrize('share', [0.1, 0.6, 0.95])
def test_a_truncated_file_is_refused(name, share, tmp_path):
    large = cv2.resize(RGB, (600, 400), interpolation=cv2.INTER_NEAREST)
    with_pillow(large)(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(share * len(data))])
    with pytest.raises(PictureError, match=rf'{name} is truncated'):
        read_picture(tmp_path / name)


def test_a_picture_with_bytes_after_its_end(tmp_path):
    """Cameras and programs add their own data."""
    with_pillow(RGB)(tmp_path / 'a.jpg')
    expected = mmcv.imread(tmp_path / 'a.jpg')
    with (tmp_path / 'a.jpg').open('ab') as file:
        file.write(b'something else')
    np.testing.assert_array_equal(read_picture(tmp_path / 'a.jpg').image, expected)


def test_files_that_are_no_pictures_are_named(tmp_path, capfd):
    (tmp_path / 'empty.png').touch()
    (tmp_path / 'text.png').write_text('hello')
    with pytest.raises(PictureError, match=r'empty\.png is empty.*remove it'):
        read_picture(tmp_path / 'empty.png')
    with pytest.raises(PictureError, match=r'text\.png .*give a JPEG'):
        read_picture(tmp_path / 'text.png')
    with pytest.raises(PictureError, match=r'none\.png .*No such file'):
        read_picture(tmp_path / 'none.png')
    assert capfd.readouterr() == ('', '')  # OpenCV prints nothing of its own


@pytest.mark.parametrize(
    ('stored', 'message'),
    [
        (np.zeros((4, 4, 5)), r'\(4, 4, 5\).*3 or 4 channels'),
        (np.zeros(4), r'\(4,\).*height, width'),
        (np.zeros((0, 4)), r'\(0, 4\)'),
        (np.zeros((4, 4), complex), 'complex128.*integers or real'),
        (np.array([[0.0, 300.0]]), r'0 to 300.*--scale MIN MAX'),
        (np.array([[-1, 3]]), r'-1 to 3.*--scale MIN MAX'),
    ],
)
def test_arrays_that_are_no_pictures_are_named(stored, message):
    with pytest.raises(PictureError, match=rf'array 3.*{message}'):
        to_picture(stored, 'array 3', 'array_3')


def test_a_decompression_bomb_limit_stops_no_picture(tmp_path, monkeypatch):
    tifffile = pytest.importorskip('tifffile')
    bands = np.zeros((40, 60, 5), np.uint8)  # which Pillow reads and OpenCV does not
    path = tmp_path / 'bands.tif'
    tifffile.imwrite(path, bands, photometric='rgb', planarconfig='contig')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 10)
    assert read_picture(path).image.shape == (40, 60, 3)
    assert Image.MAX_IMAGE_PIXELS == 10
