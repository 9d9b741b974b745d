"""Files of known pixels: OpenCV's reading is held to mmcv's, the rest to the pixels."""

import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import mmcv
import numpy as np
import pytest
from PIL import Image

from mmpatchconvnet.inference.pictures import (
    OPENCV_LOG,
    PictureError,
    from_array,
    read_picture,
)

tifffile = pytest.importorskip('tifffile')

RNG = np.random.default_rng(0)
RGB = cv2.GaussianBlur(RNG.integers(0, 256, (30, 44, 3), np.uint8), (5, 5), 0)
BGR = RGB[..., ::-1]
GRAY = RGB[..., 0].copy()
GRAY16 = GRAY.astype(np.uint16) * 120 + 37
RGB16 = RGB.astype(np.uint16) * 120 + 37
FLOAT = (GRAY / 255).astype(np.float32)
EXIF = Image.Exif()
EXIF[0x112] = 6  # turned by 90 degrees


def pil(array, kind, mode=None, **options):
    image = Image.fromarray(array)
    image = image.quantize(40) if mode == 'P' else image.convert(mode or image.mode)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def tiff(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def opencv(array, suffix='.png'):
    return cv2.imencode(suffix, array)[1].tobytes()


FIVE = np.dstack([GRAY] * 5)
RGBA = np.dstack([RGB, GRAY])
ALL = ['JPEG', 'PNG', 'TIFF', 'BMP', 'WEBP']
LOSSLESS = ['PNG', 'TIFF', 'BMP']
FILES = {
    **{f'{kind} colour': pil(RGB, kind) for kind in ALL},
    **{f'{kind} gray': pil(GRAY, kind) for kind in ALL},
    **{f'{kind} RGBA': pil(RGBA, kind) for kind in [*LOSSLESS, 'WEBP']},
    **{f'{kind} palette': pil(RGB, kind, 'P') for kind in LOSSLESS},
    **{f'{kind} 1 bit': pil(GRAY > 128, kind) for kind in LOSSLESS},
    'PNG gray and alpha': pil(np.dstack([GRAY, GRAY]), 'PNG'),
    'PNG palette, transparent': pil(RGB, 'PNG', 'P', transparency=3),
    'PNG gray 16': pil(GRAY16, 'PNG'),
    'PNG colour 16': opencv(RGB16),
    'PNG RGBA 16': opencv(np.dstack([RGB16, GRAY16])),
    'JPEG CMYK': pil(RGB, 'JPEG', 'CMYK'),
    'JPEG progressive': pil(RGB, 'JPEG', progressive=True),
    'TIFF CMYK': pil(RGB, 'TIFF', 'CMYK'),
    'TIFF LZW': pil(RGB, 'TIFF', compression='tiff_lzw'),
    'TIFF gray 16': tiff(GRAY16),
    'TIFF gray 16, big-endian': tiff(GRAY16.astype('>u2'), byteorder='>'),
    'TIFF gray 16, BigTIFF': tiff(GRAY16, bigtiff=True),
    'TIFF gray 16, zlib': tiff(GRAY16, compression='zlib', predictor=True),
    'TIFF signed 16': tiff(GRAY16.astype(np.int16)),
    'TIFF colour 16': tiff(RGB16, photometric='rgb'),
    'TIFF RGBA 16': tiff(
        np.dstack([RGB16, GRAY16]), photometric='rgb', extrasamples=[2]
    ),
    'TIFF planes 16, BigTIFF': tiff(
        RGB16.transpose(2, 0, 1),
        photometric='rgb',
        planarconfig='separate',
        bigtiff=True,
    ),
    'TIFF planes 16': tiff(
        RGB16.transpose(2, 0, 1), photometric='rgb', planarconfig='separate'
    ),
    'TIFF two pages': tiff(np.stack([GRAY16, GRAY16[::-1]]), photometric='minisblack'),
    **{f'{kind} turned': pil(RGB, kind, exif=EXIF) for kind in ['JPEG', 'PNG', 'TIFF']},
    'PNG gray 16 turned': pil(GRAY16, 'PNG', exif=EXIF),
}


@pytest.fixture
def read(tmp_path):
    def write_and_read(content, scale=None):
        path = tmp_path / 'a picture'
        path.write_bytes(content)
        return read_picture(path, scale)

    return write_and_read


@pytest.mark.parametrize('name', FILES)
def test_pixels_are_those_of_the_pipelines(read, name):
    picture = read(FILES[name])
    expected = mmcv.imfrombytes(FILES[name], backend='cv2')
    np.testing.assert_array_equal(picture.image, expected)
    assert picture.image.dtype == np.uint8 and picture.image.flags.c_contiguous
    assert picture.intensity.shape == expected.shape[:2]


@pytest.mark.parametrize('name', ['PNG gray', 'TIFF gray', 'BMP gray', 'WEBP gray'])
def test_the_intensity_of_a_gray_picture_is_its_gray(read, name):
    atol = 16 if name.startswith('WEBP') else 0  # lossy
    np.testing.assert_allclose(read(FILES[name]).intensity, GRAY, atol=atol)


@pytest.mark.parametrize('name', [name for name in FILES if 'gray 16' in name])
def test_the_intensity_of_16_bits_is_what_is_stored(read, name):
    picture = read(FILES[name])
    expected = np.rot90(GRAY16, -1) if 'turned' in name else GRAY16
    np.testing.assert_array_equal(picture.intensity, expected)
    assert picture.intensity.dtype == np.uint16
    np.testing.assert_array_equal(picture.image[..., 0], expected >> 8)


def test_the_intensity_of_colours_is_their_luma(read):
    expected = RGB @ np.array([0.299, 0.587, 0.114])
    picture = read(FILES['PNG colour'])
    assert picture.intensity.dtype == np.uint8
    np.testing.assert_allclose(picture.intensity, expected, atol=1)


def test_only_the_first_page_is_read(read):
    np.testing.assert_array_equal(read(FILES['TIFF two pages']).intensity, GRAY16)


@pytest.mark.parametrize(
    'content',
    [
        FILES['TIFF gray 16'],
        FILES['TIFF signed 16'],
        tiff(GRAY16, tile=(16, 16)),  # OpenCV cannot read these without a scale
        tiff(GRAY16.astype(np.int32)),
        tiff(GRAY16.astype(np.uint32)),
        tiff(GRAY16.astype(np.float32)),
        tiff(GRAY16.astype(np.float64)),
    ],
)
def test_a_scale_maps_stored_values(read, content):
    image = read(content, (10037, 20037)).image
    expected = np.clip((GRAY16 - 10037.0) / 10000 * 255, 0, 255)
    np.testing.assert_allclose(image, np.dstack([expected] * 3), atol=0.51)
    assert image.min() == 0 and image.max() == 255


@pytest.mark.parametrize(
    'kind',
    [name for name in FILES if '6' in name and ('planes' in name or 'colour' in name)],
)
def test_a_scale_maps_each_colour(read, kind):
    image = read(FILES[kind], (10037, 20037)).image
    stored = RGB16 if kind.startswith('PNG') else RGB16[..., ::-1]
    expected = np.clip((stored - 10037.0) / 10000 * 255, 0, 255)
    np.testing.assert_allclose(image, expected, atol=0.51)


def test_a_scale_leaves_8_bits_as_they_are(read):
    picture = read(FILES['PNG gray'], (0, 4095))
    np.testing.assert_array_equal(picture.image[..., 0], GRAY)


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64])
@pytest.mark.parametrize('top', [1, 255])
def test_floats_of_two_ranges_need_no_scale(read, dtype, top):
    stored = (FLOAT * top).astype(dtype)
    picture = read(tiff(stored))
    np.testing.assert_allclose(picture.image[..., 1], GRAY, atol=1)
    np.testing.assert_array_equal(picture.intensity, stored)


@pytest.mark.parametrize('top', [1, 255])
def test_float_colours_of_two_ranges_need_no_scale(read, top):
    """OpenCV itself would take all of them as 0..1."""
    colours = (RGB / 255 * top).astype(np.float32)
    planes = tiff(
        colours.transpose(2, 0, 1), photometric='rgb', planarconfig='separate'
    )
    for content in (tiff(colours, photometric='rgb'), planes):
        np.testing.assert_allclose(read(content).image, BGR, atol=0.51)


def test_other_floats_ask_for_a_scale(read):
    with pytest.raises(PictureError, match=r'a picture .* -3 to 90.*--scale -3 90'):
        read(tiff(np.array([[-3, 90]], np.float32)))
    with pytest.raises(PictureError, match='--scale 37 '):
        read(tiff(np.array([[37, 50000]], np.int32)))


def test_a_pixel_that_is_not_a_number_is_black():
    values = np.array([[np.nan, 1], [0.5, np.inf]], np.float32)
    image = from_array(values, 'x', (0, 1)).image
    assert image[..., 0].tolist() == [[0, 255], [128, 255]]


FALLBACK = [
    name
    for name in FILES
    # PIL has its own colours for CMYK and keeps 8 of 16 bits; tifffile, all of them.
    if not any(word in name for word in ('CMYK', 'PNG colour 16', 'RGBA 16', 'signed'))
]


@pytest.mark.parametrize('name', FALLBACK)
def test_other_readers_see_the_same_pixels(read, name, monkeypatch):
    expected = mmcv.imfrombytes(FILES[name], backend='cv2')
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: None)
    image = read(FILES[name]).image
    assert image.flags.c_contiguous
    # JPEG and WebP decoders round differently; OpenCV multiplies by alpha in TIFF.
    if name == 'TIFF RGBA':
        expected = BGR
    np.testing.assert_allclose(image.astype(int), expected, atol=4)


def test_16_bit_colours_are_never_cut_to_8_bits(read, monkeypatch):
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: None)
    with pytest.raises(PictureError, match='8 of the 16 bits'):
        read(FILES['PNG colour 16'], (0, 1000))


def test_pil_reads_pictures_beyond_its_limit(read, monkeypatch):
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: None)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    assert read(FILES['PNG gray']).image.shape == (30, 44, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize('missing', [True, False])
def test_tifffile_is_only_needed_for_rare_files(read, monkeypatch, missing):
    rare = tiff(GRAY16.astype(np.float16), photometric='minisblack')
    if missing:
        monkeypatch.setitem(sys.modules, 'tifffile', None)
        assert read(FILES['TIFF gray 16']).image.any()
        with pytest.raises(PictureError, match='package tifffile'):
            read(rare, (0, 60000))
    else:
        assert read(rare, (0, 60000)).image.any()


# -------------------------------------------------------------------------- errors


CUT = ['JPEG colour', 'JPEG progressive', 'PNG colour', 'TIFF colour', 'TIFF LZW']
CUT += ['TIFF gray 16, zlib', 'BMP colour', 'WEBP colour']


@pytest.mark.parametrize('name', CUT)
def test_half_a_picture_is_an_error(read, name):
    content = FILES[name]
    for share in (0.05, 0.3, 0.6, 0.9, 0.99):
        with pytest.raises(PictureError, match=r'a picture cannot be read .*complete'):
            read(content[: int(share * len(content))])


def test_files_that_are_no_pictures_are_named(read, tmp_path):
    with pytest.raises(PictureError, match='a picture is an empty file'):
        read(b'')
    with pytest.raises(PictureError, match=r'a picture .*not a format.*PNG'):
        read(b'file,class\na.png,3\n')
    with pytest.raises(PictureError, match=r'gone\.png .*[Nn]o such file'):
        read_picture(tmp_path / 'gone.png')
    with pytest.raises(PictureError, match=r'cannot be opened .*picture file'):
        read_picture(tmp_path)
    with pytest.raises(PictureError, match=r'a picture has shape \(30, 44, 5\)'):
        read(tiff(FIVE, photometric='minisblack', planarconfig='contig'))


def test_errors_are_not_logged_by_opencv_as_well(read, capfd):
    with pytest.raises(PictureError):
        read(FILES['TIFF colour'][:500])
    assert 'ERROR' not in capfd.readouterr().err


def test_opencv_s_limit_of_pixels_is_explained(tmp_path):
    (tmp_path / 'large.png').write_bytes(FILES['PNG gray'])
    code = (
        'from mmpatchconvnet.inference.pictures import read_picture\n'
        f'read_picture({str(tmp_path / "large.png")!r})'
    )
    run = subprocess.run(
        [sys.executable, '-c', code],
        env=dict(os.environ, OPENCV_IO_MAX_IMAGE_PIXELS='1000'),
        capture_output=True,
        text=True,
    )
    assert 'large.png has more pixels than OpenCV reads: cut it' in run.stderr


# -------------------------------------------------------------------------- arrays


@pytest.mark.parametrize(
    'array, image',
    [
        (GRAY, np.dstack([GRAY] * 3)),
        (GRAY[..., None], np.dstack([GRAY] * 3)),
        (GRAY16, np.dstack([GRAY16 >> 8] * 3)),
        (GRAY16.astype('>u2'), np.dstack([GRAY16 >> 8] * 3)),
        (GRAY > 99, np.dstack([(GRAY > 99) * 255] * 3)),
        (FLOAT, np.dstack([GRAY] * 3)),
        (BGR, BGR),
        (np.dstack([BGR, GRAY]), BGR),
        (RGB16[..., ::-1], RGB16[..., ::-1] >> 8),
    ],
)
def test_arrays_become_pictures(array, image):
    picture = from_array(array, 'array 0')
    np.testing.assert_array_equal(picture.image, image)
    assert picture.image.flags.c_contiguous and picture.image.dtype == np.uint8
    assert picture.intensity.shape == array.shape[:2]
    assert picture.file == 'array 0'


@pytest.mark.parametrize(
    'array, problem',
    [
        (
            np.zeros((3, 20, 30), np.uint8),
            r'array 7 has shape \(3, 20, 30\).*\(H, W, 3',
        ),
        (np.zeros(5, np.uint8), r'shape \(5,\)'),
        (np.zeros((0, 5), np.uint8), '0 values'),
        (np.zeros((4, 5), complex), 'complex128.*uint8'),
    ],
)
def test_other_arrays_are_refused(array, problem):
    with pytest.raises(PictureError, match=problem):
        from_array(array, 'array 7')


def test_pictures_read_by_threads_leave_the_settings_of_the_libraries(tmp_path):
    paths = [tmp_path / f'{number}.gif' for number in range(40)]
    for path in paths:
        Image.fromarray(GRAY).save(path)
    before = OPENCV_LOG.getLogLevel(), Image.MAX_IMAGE_PIXELS
    with ThreadPoolExecutor(8) as threads:
        pictures = list(threads.map(read_picture, paths))
    assert len(pictures) == 40
    assert (OPENCV_LOG.getLogLevel(), Image.MAX_IMAGE_PIXELS) == before


def test_a_large_tiff_of_big_endian_numbers(read):
    content = tiff(RGB16, photometric='rgb', bigtiff=True, byteorder='>')
    np.testing.assert_allclose(read(content).image, RGB16[..., ::-1] >> 8, atol=1)
