import csv
import json
import os

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmpatchconvnet.inference.outputs import Writer
from mmpatchconvnet.inference.results import Classification, Detection, Segmentation
from mmpatchconvnet.mask_crops import to_crop

CLASSES = ['cat', 'a "dog", or wolf', 'Zürich']
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
INTENSITY = (np.arange(40 * 60).reshape(40, 60) % 4000).astype(np.uint16)
DISC = np.hypot(*(np.mgrid[:40, :60] - np.array([20, 30])[:, None, None])) < 7
CORNER = np.zeros((40, 60), bool)
CORNER[:5, :10] = True


def detection(file='day 1/ä.tif', masks=(DISC, CORNER), labels=(2, 0)):
    boxes = [(23, 13, 37.004, 27), (0, 0, 10, 5)][: len(labels)]
    return Detection(
        file,
        CLASSES,
        IMAGE,
        INTENSITY,
        None,
        np.array(labels, int),
        np.array([0.9, 0.31234567], np.float32)[: len(labels)],
        np.array(boxes, np.float32).reshape(-1, 4),
        None if masks is None else [to_crop(m) for m in masks[: len(labels)]],
    )


def classification(label=1, file='a.png'):
    scores = np.full(3, 0.1, np.float32)
    scores[label] = 0.8
    return Classification(file, CLASSES, IMAGE, INTENSITY, None, label, scores)


def segmentation(file='a.png'):
    label_map = np.where(DISC, 2, CORNER).astype(np.uint8)
    return Segmentation(file, CLASSES, IMAGE, INTENSITY, None, label_map)


def write(folder, *results, kind=Detection, **settings):
    kind, classes = (
        (type(r), r.classes) if (r := next(iter(results), None)) else (kind, CLASSES)
    )
    with Writer(folder, kind, classes, **settings) as writer:
        for number, result in enumerate(results):
            writer.add(result, f'{number}/{result.file}')
    return folder


def table(folder):
    with (folder / 'objects.csv').open(newline='', encoding='utf-8-sig') as file:
        return list(csv.DictReader(file))


def read_json(path):
    return json.loads(path.read_text('utf-8'))


def test_objects_are_measured_within_their_masks(tmp_path):
    write(tmp_path, detection())
    disc, corner = table(tmp_path)
    assert disc['file'] == 'day 1/ä.tif' and disc['class'] == 'Zürich'
    assert (disc['score'], corner['score']) == ('0.9', '0.3123')
    assert int(disc['area']) == DISC.sum()
    assert (float(disc['centroid_x']), float(disc['centroid_y'])) == (30, 20)
    assert float(disc['mean_intensity']) == round(INTENSITY[DISC].mean(), 2)
    assert (corner['centroid_x'], corner['centroid_y']) == ('4.5', '2.0')
    assert corner['x2'] == '10.0'


def test_objects_without_masks_are_measured_within_their_boxes(tmp_path):
    write(tmp_path, detection(masks=None))
    disc, _ = table(tmp_path)
    assert int(disc['area']) == 14 * 14
    assert float(disc['mean_intensity']) == round(INTENSITY[13:27, 23:37].mean(), 2)
    assert 'segmentation' not in read_json(tmp_path / 'predictions.json')[0]


def test_pycocotools_reads_what_was_found(tmp_path):
    """The predictions as ground truth of themselves have an AP of 1."""
    write(tmp_path, detection(), detection('b.tif', labels=()))
    truth = COCO(tmp_path / 'dataset.json')
    found = truth.loadRes(str(tmp_path / 'predictions.json'))
    assert [truth.imgs[i]['file_name'] for i in (1, 2)] == ['day 1/ä.tif', 'b.tif']
    assert [truth.cats[i]['name'] for i in (1, 2, 3)] == CLASSES
    masks = [found.annToMask(found.anns[i]) for i in (1, 2)]
    np.testing.assert_array_equal(masks, [DISC, CORNER])
    truth.dataset['annotations'] = [dict(a, iscrowd=0) for a in found.anns.values()]
    truth.createIndex()
    evaluation = COCOeval(truth, found, 'segm')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_classes_are_one_line_a_picture(tmp_path):
    write(tmp_path, classification(1), classification(2, 'b "c", d.png'))
    text = (tmp_path / 'predictions.json').read_text('utf-8')
    assert len(text.splitlines()) == 4  # with the brackets
    first, second = json.loads(text)
    assert first['class'] == CLASSES[1] and first['score'] == 0.8
    assert second['scores']['Zürich'] == 0.8
    assert [row['class'] for row in table(tmp_path)] == CLASSES[1:]
    assert table(tmp_path)[1]['file'] == 'b "c", d.png'


def test_label_maps_hold_classes_in_the_colours_of_the_data_set(tmp_path):
    palette = [(1, 2, 3), (4, 5, 6), (7, 8, 9)]
    result = segmentation()
    write(tmp_path, result, palette=palette)
    (line,) = read_json(tmp_path / 'predictions.json')
    path = tmp_path / line['label_map']
    with Image.open(path) as picture:
        assert picture.mode == 'P'
        np.testing.assert_array_equal(np.asarray(picture), result.label_map)
        colors = np.asarray(picture.convert('RGB'))
    assert tuple(colors[20, 30]) == (7, 8, 9) and tuple(colors[0, 0]) == (4, 5, 6)
    rows = {row['class']: row for row in table(tmp_path)}
    assert int(rows['Zürich']['area']) == DISC.sum()
    assert float(rows['Zürich']['share']) == round(DISC.mean(), 4)
    mean = float(rows['Zürich']['mean_intensity'])
    assert mean == pytest.approx(INTENSITY[DISC].mean(), abs=0.01)
    assert line['shares'].keys() == rows.keys() == set(CLASSES)


def test_more_than_256_classes(tmp_path):
    result = segmentation()
    result.label_map = np.full((40, 60), 300, np.int32)
    result.classes = [str(number) for number in range(301)]
    write(tmp_path, result, draw=False)
    path = tmp_path / 'label_maps/0/a.png.png'
    assert (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) == 300).all()


def drawing(folder, result, **settings):
    """The drawn picture, 400 x 600 pixels without the text around it."""
    write(folder, result, **settings)
    page = cv2.imread(str(folder / f'pictures/0/{result.file}.jpg')).astype(int)
    heights = range(page.shape[0] - 400)
    plain = cv2.resize(IMAGE, (600, 400), interpolation=cv2.INTER_CUBIC).astype(int)
    parts = [page[top : top + 400, 24:624] for top in heights]
    return min(parts, key=lambda part: np.abs(part - plain).mean()), plain


@pytest.mark.parametrize('masks', [(DISC, CORNER), None])
def test_objects_are_drawn_in_their_place(masks, tmp_path):
    drawn, plain = drawing(tmp_path, detection(masks=masks))
    changed = np.abs(drawn - plain).mean(-1) > 30
    assert changed[130:270, 230:370].mean() > 0.05  # the disc, ten times as large
    assert changed[300:, 400:].mean() < 0.02


def test_label_maps_are_drawn_in_their_colours(tmp_path):
    palette = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    drawn, plain = drawing(tmp_path, segmentation(), palette=palette)
    blue, green, red = (drawn - plain)[150:250, 250:350].mean((0, 1))
    assert blue > 40 and green < 0 and red < 0
    assert (drawn - plain)[300:, :200, 2].mean() > 40  # background in red


def test_the_class_is_below_the_picture(tmp_path):
    drawn, plain = drawing(tmp_path / 'a', classification())
    assert np.abs(drawn - plain).mean() < 10
    other, _ = drawing(tmp_path / 'b', classification(2))
    first, second = (next((tmp_path / x).rglob('*.jpg')).read_bytes() for x in 'ab')
    assert np.abs(drawn - other).mean() < 1 and first != second


@pytest.mark.parametrize('make', [detection, classification, segmentation])
def test_no_pictures_on_request(make, tmp_path):
    write(tmp_path, make(), draw=False)
    assert not (tmp_path / 'pictures').exists()


def test_labels_without_a_name(tmp_path):
    write(tmp_path, detection(labels=(7, 0)))
    assert table(tmp_path)[0]['class'] == 'class 7'
    assert len(read_json(tmp_path / 'dataset.json')['categories']) == 8


def test_classes_with_the_same_name_are_told_apart(tmp_path):
    """ImageNet has a bird and a machine that are called crane."""
    names = ['crane', 'dog', 'crane']
    bird, map_of_both = classification(0), segmentation()
    bird.classes = map_of_both.classes = names
    write(tmp_path / 'a', bird)
    write(tmp_path / 'b', map_of_both)
    (line,) = read_json(tmp_path / 'a/predictions.json')
    scores = {'crane': 0.8, 'dog': 0.1, 'crane (2)': 0.1}
    assert (line['class'], line['scores']) == ('crane', scores)
    (line,) = read_json(tmp_path / 'b/predictions.json')
    assert sum(line['shares'].values()) == pytest.approx(1, abs=1e-3)
    assert {row['class'] for row in table(tmp_path / 'b')} == set(scores)


@pytest.mark.parametrize('make', [detection, classification, segmentation])
def test_a_file_name_that_is_not_utf8(make, tmp_path):
    result = make(file=os.fsdecode(b'b\xe4d.png'))
    write(tmp_path, result)
    assert table(tmp_path)[0]['file'] == r'b\udce4d.png'
    entry = read_json(tmp_path / 'predictions.json')[0]
    assert entry.get('file', entry.get('file_name')) == result.file
    assert tmp_path.joinpath(f'pictures/0/{result.file}.jpg').exists()


def test_an_empty_mask_has_no_centroid(tmp_path):
    write(tmp_path, detection(masks=(DISC, np.zeros_like(DISC))))
    assert [row['area'] for row in table(tmp_path)] == [str(DISC.sum()), '0']
    empty = table(tmp_path)[1]
    assert empty['centroid_x'] == empty['centroid_y'] == empty['mean_intensity'] == ''


def test_a_classifier_leaves_no_dataset_of_an_earlier_detector(tmp_path):
    write(tmp_path, detection())
    write(tmp_path, classification())
    assert not (tmp_path / 'dataset.json').exists()


def test_nothing_found(tmp_path):
    write(tmp_path / 'a', detection(labels=()))
    assert table(tmp_path / 'a') == []
    assert read_json(tmp_path / 'a/predictions.json') == []
    write(tmp_path / 'b')
    assert table(tmp_path / 'b') == []
    assert (tmp_path / 'b/objects.csv').read_bytes().startswith(b'\xef\xbb\xbffile,')
    assert read_json(tmp_path / 'b/predictions.json') == []
    assert read_json(tmp_path / 'b/dataset.json')['images'] == []


@pytest.mark.parametrize('make', [detection, classification, segmentation])
def test_an_error_before_the_first_result_keeps_earlier_files(make, tmp_path):
    write(tmp_path, make())
    earlier = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(ValueError), Writer(tmp_path, type(make()), CLASSES):
        raise ValueError
    assert earlier == {path: path.read_bytes() for path in earlier}


def test_scores_that_are_not_numbers_are_null(tmp_path):
    result = classification()
    result.scores[:] = np.nan
    write(tmp_path, result)
    (line,) = read_json(tmp_path / 'predictions.json')
    assert line['score'] is None and table(tmp_path)[0]['score'] == ''


@pytest.mark.parametrize('letter', ['n', 'ü'])
def test_long_file_names_are_shortened(letter, tmp_path):
    name = letter * (240 // len(letter.encode())) + '.png'
    write(tmp_path, *[segmentation(name)] * 2)
    lines = read_json(tmp_path / 'predictions.json')
    assert len({line['label_map'] for line in lines}) == 2
    for line in lines:
        assert line['file'] == name and tmp_path.joinpath(line['label_map']).exists()
    assert len([*tmp_path.rglob('*.jpg')]) == 2


def test_an_interrupted_run_leaves_whole_files(tmp_path):
    with (
        pytest.raises(KeyboardInterrupt),
        Writer(tmp_path, Detection, CLASSES) as writer,
    ):
        writer.add(detection(), 'a.tif')
        raise KeyboardInterrupt
    assert len(table(tmp_path)) == 2
    assert len(read_json(tmp_path / 'predictions.json')) == 2
    assert len(read_json(tmp_path / 'dataset.json')['images']) == 1


def test_many_objects_in_a_large_picture(tmp_path):
    """Full masks of them would need 20 GB."""
    count, side = 2000, 3200
    random = np.random.default_rng(0)
    image = np.zeros((side, side, 3), np.uint8)
    corners = random.integers(0, side - 60, (count, 2))
    crops = [to_crop(DISC, int(x), int(y)) for x, y in corners]
    boxes = np.array([(c.x, c.y, c.x + 13, c.y + 13) for c in crops], np.float32)
    scores = np.linspace(1, 0.5, count, dtype=np.float32)
    labels = np.zeros(count, int)
    result = Detection(
        'a', ['cell'], image, image[..., 0], None, labels, scores, boxes, crops
    )
    write(tmp_path, result)
    rows = table(tmp_path)
    assert len(rows) == count and {row['area'] for row in rows} == {str(DISC.sum())}
    found = COCO(tmp_path / 'dataset.json').loadRes(str(tmp_path / 'predictions.json'))
    mask = found.annToMask(found.anns[count])
    np.testing.assert_array_equal(to_crop(mask.astype(bool)).mask, crops[-1].mask)
