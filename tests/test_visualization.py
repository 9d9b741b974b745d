"""Sheets, curves and reports: what must be seen is there, and in the right place."""

import base64
import json
import re

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from mmpatchconvnet.visualization import sheets
from mmpatchconvnet.visualization.canvas import shorten, text_width
from mmpatchconvnet.visualization.curves import plot_curves, read_scalars, smoothed
from mmpatchconvnet.visualization.report import Picture, Section, Table, write_report
from mmpatchconvnet.visualization.sheets import SheetRow, draw_sheet, save_image

SIZE = sheets.PANEL  # pictures of this size are drawn pixel by pixel
GREY = (200, 200, 200)
PALETTE = ((255, 0, 0), (0, 0, 255))
# What `PALETTE` half transparent over `GREY` looks like.
RED, BLUE = (225, 110, 110), (110, 110, 225)


def grey_picture(height: int = SIZE, width: int = SIZE) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


def square(top: int, left: int, side: int = 150) -> torch.Tensor:
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[top : top + side, left : left + side] = True
    return mask


def instances(labels, masks, scores=None) -> InstanceData:
    found = InstanceData(labels=torch.tensor(labels), masks=masks)
    if scores is not None:
        found.scores = torch.tensor(scores)
    return found


def pixel(sheet: np.ndarray, column: int, y: int, x: int) -> tuple:
    """A pixel of a panel in the first row of a sheet of grey pictures."""
    left = sheets.MARGIN + column * (SIZE + sheets.GAP)
    top = int(np.flatnonzero((sheet[:, sheets.MARGIN] == GREY).all(axis=-1))[0])
    return tuple(sheet[top + y, left + x].tolist())


def has_color(sheet: np.ndarray, color) -> bool:
    """Whether any pixel has a colour of 0..1."""
    near = np.abs(sheet - 255 * np.array(color)).max(axis=-1) < 2
    return bool(near.any())


# --------------------------------------------------------------------------- sheets


def test_objects_are_painted_in_their_class_colour_and_column():
    sample = BaseDataElement()
    sample.gt_instances = instances([0], square(20, 20)[None])
    sample.pred_instances = instances([1], square(220, 220)[None].numpy(), [0.9])
    sheet = draw_sheet([SheetRow(grey_picture(), sample)], ['a', 'b'], PALETTE)
    at_truth, at_prediction = (40, 40), (240, 240)
    assert [pixel(sheet, column, *at_truth) for column in range(3)] == [GREY, RED, GREY]
    assert [pixel(sheet, column, *at_prediction) for column in range(3)] == [
        GREY,
        GREY,
        BLUE,
    ]
    assert pixel(sheet, 1, 20, 100) == PALETTE[0]  # the contour is not transparent


def test_uncertain_objects_are_left_out():
    sample = BaseDataElement()
    masks = torch.stack([square(20, 20), square(220, 220)])
    sample.pred_instances = instances([0, 1], masks, [0.8, 0.6])
    row = SheetRow(grey_picture(), sample)
    strict = draw_sheet([row], ['a', 'b'], PALETTE, score_threshold=0.7)
    assert pixel(strict, 1, 40, 40) == RED and pixel(strict, 1, 240, 240) == GREY
    lax = draw_sheet([row], ['a', 'b'], PALETTE, score_threshold=0.5)
    assert pixel(lax, 1, 40, 40) == RED and pixel(lax, 1, 240, 240) == BLUE


@pytest.mark.parametrize('kind', ['bitmap', 'polygon'])
def test_masks_of_mmdet_are_understood(kind):
    structures = pytest.importorskip('mmdet.structures.mask')
    if kind == 'bitmap':
        masks = structures.BitmapMasks(square(20, 20)[None].numpy(), SIZE, SIZE)
    else:
        corners = np.array([20, 20, 170, 20, 170, 170, 20, 170], float)
        masks = structures.PolygonMasks([[corners]], SIZE, SIZE)
    sample = BaseDataElement()
    sample.gt_instances = instances([1], masks)
    sheet = draw_sheet([SheetRow(grey_picture(), sample)], ['a', 'b'], PALETTE)
    assert pixel(sheet, 1, 40, 40) == BLUE and pixel(sheet, 1, 200, 200) == GREY


def test_boxes_are_drawn_where_there_are_no_masks():
    boxes = pytest.importorskip('mmdet.structures.bbox').HorizontalBoxes
    sample = BaseDataElement()
    # In pixels of a picture that is shown at half its size.
    corners = boxes(torch.tensor([[100.0, 200.0, 500.0, 600.0]]))
    sample.gt_instances = InstanceData(labels=torch.tensor([1]), bboxes=corners)
    image = grey_picture(2 * SIZE, 2 * SIZE)
    sheet = draw_sheet([SheetRow(image, sample)], ['a', 'b'], PALETTE)
    assert pixel(sheet, 1, 200, 50) == PALETTE[1]
    assert pixel(sheet, 1, 300, 250) == PALETTE[1]
    assert pixel(sheet, 1, 200, 150) == GREY


def test_objects_of_a_single_class_differ_in_colour():
    sample = BaseDataElement()
    masks = torch.stack([square(20, 20), square(220, 220)])
    sample.gt_instances = instances([0, 0], masks)
    sheet = draw_sheet([SheetRow(grey_picture(), sample)], ['cell'], PALETTE)
    first, second = pixel(sheet, 1, 40, 40), pixel(sheet, 1, 240, 240)
    assert len({first, second, GREY}) == 3


def test_a_picture_without_objects_is_shown_as_it_is():
    sample = BaseDataElement()
    nothing = torch.zeros(0, SIZE, SIZE, dtype=torch.bool)
    sample.pred_instances = instances([], nothing, [])
    sample.pred_instances.labels = torch.zeros(0, dtype=torch.long)
    sheet = draw_sheet([SheetRow(grey_picture(), sample)], ['a', 'b'], PALETTE)
    assert pixel(sheet, 1, 200, 200) == GREY


def label_maps(truth: np.ndarray, prediction: np.ndarray | None = None):
    sample = BaseDataElement()
    sample.gt_sem_seg = PixelData(data=torch.tensor(truth)[None])
    if prediction is not None:
        sample.pred_sem_seg = PixelData(data=torch.tensor(prediction)[None])
    return sample


def test_ignored_pixels_stay_unpainted():
    truth = np.zeros((SIZE, SIZE), np.uint8)
    truth[:, 100:] = 1
    truth[:, 300:] = 255
    sample = label_maps(truth, np.ones_like(truth))
    sheet = draw_sheet([SheetRow(grey_picture(), sample)], ['a', 'b'], PALETTE)
    assert [pixel(sheet, 1, 50, x) for x in (50, 200, 350)] == [RED, BLUE, GREY]
    assert [pixel(sheet, 2, 50, x) for x in (50, 200, 350)] == [BLUE, BLUE, BLUE]
    assert pixel(sheet, 1, 50, 100) == (255, 255, 255)  # where two classes meet


def test_one_row_a_picture_and_one_column_a_side():
    maps = [np.zeros((SIZE, SIZE), np.uint8)] * 2
    both = SheetRow(grey_picture(), label_maps(*maps))
    truth = SheetRow(grey_picture(), label_maps(maps[0]))
    one, three = (draw_sheet([both] * count, ['a'], PALETTE) for count in (1, 3))
    narrow = draw_sheet([truth], ['a'], PALETTE)
    assert one.dtype == np.uint8 and one.shape[1] == three.shape[1]
    assert three.shape[0] - one.shape[0] >= 2 * SIZE
    assert one.shape[1] - narrow.shape[1] == SIZE + sheets.GAP


def test_legend_names_only_what_is_seen():
    truth = np.zeros((SIZE, SIZE), np.uint8)
    row = SheetRow(grey_picture(), label_maps(truth))
    sheet = draw_sheet([row], ['a', 'b'], PALETTE)
    assert has_color(sheet, (1, 0, 0)) and not has_color(sheet, (0, 0, 1))


def test_portrait_and_small_pictures_keep_their_proportions():
    image = np.full((30, 10, 3), GREY, np.uint8)
    row = SheetRow(image, label_maps(np.zeros((30, 10), np.uint8)))
    sheet = draw_sheet([row], ['a'], PALETTE)
    shown = (sheet == GREY).all(axis=-1)
    assert shown.any(axis=1).sum() == SIZE
    assert shown.any(axis=0).sum() == round(SIZE / 3)


def test_dark_pictures_are_brightened():
    image = np.full((SIZE, SIZE, 3), 5, np.uint8)
    image[:100] = 20
    row = SheetRow(image, label_maps(np.full((SIZE, SIZE), 255, np.uint8)))
    sheet = draw_sheet([row], ['a'], PALETTE)
    column = sheet[:, sheets.MARGIN + 10, 0]
    assert (column == 220).sum() >= 90 and (column == 55).sum() >= 290


def answer(truth: int, label: int, score: float = 0.9) -> SheetRow:
    sample = BaseDataElement()
    sample.gt_label, sample.pred_label = torch.tensor([truth]), torch.tensor([label])
    sample.pred_score = torch.full((3,), (1 - score) / 2)
    sample.pred_score[label] = score
    return SheetRow(grey_picture(50, 50), sample)


def test_answers_are_marked_right_or_wrong():
    classes = ['cat, house cat', 'dog', 'cow']
    right = draw_sheet([answer(1, 1)], classes)
    wrong = draw_sheet([answer(1, 2)], classes)
    assert has_color(right, sheets.RIGHT) and not has_color(right, sheets.WRONG)
    assert has_color(wrong, sheets.WRONG) and not has_color(wrong, sheets.RIGHT)


def test_answers_are_laid_out_as_a_grid():
    row, full, two = (
        draw_sheet([answer(0, 0)] * count, ['a', 'b', 'c']) for count in (1, 6, 7)
    )
    assert full.shape[1] == two.shape[1] == row.shape[1] + 5 * (sheets.TILE + 12)
    assert full.shape[0] == row.shape[0] < two.shape[0]
    tiles = (two == GREY).all(axis=-1).sum() / sheets.TILE**2
    assert round(tiles) == 7


def test_answers_without_truth_are_neither_right_nor_wrong():
    row = answer(0, 1)
    del row.sample.gt_label
    sheet = draw_sheet([row], ['a', 'b', 'c'])
    assert not has_color(sheet, sheets.RIGHT) and not has_color(sheet, sheets.WRONG)


@pytest.mark.parametrize(
    'sample', [label_maps(np.full((8, 8), 2, np.uint8)), answer(0, 2).sample]
)
def test_a_class_without_a_name_is_refused(sample):
    with pytest.raises(ValueError, match='class 2, but 2 classes are named'):
        draw_sheet([SheetRow(grey_picture(), sample)], ['a', 'b'])


def test_an_empty_sheet_is_refused():
    with pytest.raises(ValueError, match='at least one row'):
        draw_sheet([], ['a'])


def test_names_with_dollars_are_no_formulas():
    row = SheetRow(grey_picture(), label_maps(np.zeros((SIZE, SIZE), np.uint8)))
    assert draw_sheet([row], ['$a_{$'], title='$\\frac$').size


def test_long_names_are_shortened():
    short = shorten('a very long name indeed', 60, 12)
    assert short.endswith('…') and text_width(short, 12) <= 60
    assert shorten('fits', 60, 12) == 'fits'


def test_more_classes_than_colours_get_colours_of_their_own():
    colors = sheets.class_colors(40, palette=PALETTE)
    assert len({tuple(color) for color in colors.tolist()}) == 40
    assert sheets.class_colors(2, PALETTE).tolist() == [list(c) for c in PALETTE]


def test_pictures_are_written_whole_or_not_at_all(tmp_path):
    picture = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    save_image(tmp_path / 'new' / 'a.png', picture)
    read = cv2.imread(str(tmp_path / 'new' / 'a.png'))[..., ::-1]
    assert (read == picture).all()
    with pytest.raises(ValueError, match=r"'a\.gif'"):
        save_image(tmp_path / 'a.gif', picture)
    assert [path.name for path in tmp_path.rglob('*.*')] == ['a.png']


# --------------------------------------------------------------------------- curves


def training(step: int, loss: float = 1.0) -> dict:
    parts = dict(loss_a=loss / 4, loss_b=3 * loss / 4)
    return dict(lr=0.1, loss=loss, **parts, time=0.1, iter=step, step=step)


def write_log(path, *records, tail: str = ''):
    path.write_text(''.join(json.dumps(one) + '\n' for one in records) + tail)
    return path


def test_validation_by_epoch_is_put_over_iterations(tmp_path):
    log = write_log(
        tmp_path / 'scalars.json',
        training(50),
        training(100),
        {'coco/bbox_mAP': 0.1, 'time': 0.2, 'step': 1},
        training(150),
        training(200),
        {'coco/bbox_mAP': 0.2, 'time': 0.2, 'step': 2},
    )
    losses, metrics = read_scalars([log])
    assert list(losses) == [50, 100, 150, 200]
    assert {step: one['coco/bbox_mAP'] for step, one in metrics.items()} == {
        100: 0.1,
        200: 0.2,
    }


def test_log_with_hierarchy_is_understood(tmp_path):
    record = {f'train/{key}': value for key, value in training(10).items()}
    record |= dict(iter=10, step=10)
    log = write_log(tmp_path / 'scalars.json', record, {'val/mIoU': 50.0, 'step': 10})
    losses, metrics = read_scalars([log])
    assert losses[10]['loss'] == 1.0 and metrics[10]['mIoU'] == 50.0


def test_cut_off_lines_are_passed_over_and_later_steps_count(tmp_path):
    log = tmp_path / 'scalars.json'
    crashed = [training(step, loss=9.0) for step in (10, 20, 30)]
    resumed = [training(step, loss=1.0) for step in (20, 30, 40)]
    write_log(log, *crashed, {'mIoU': 1.0, 'step': 30}, tail='{"lr": 0.1, "lo\n')
    with log.open('a') as file:
        file.write(''.join(json.dumps(one) + '\n' for one in resumed) + '{"lr": 0.')
    losses, metrics = read_scalars([log])
    assert {step: one['loss'] for step, one in losses.items()} == {
        10: 9.0,
        20: 1.0,
        30: 1.0,
        40: 1.0,
    }
    assert metrics == {}


def test_validation_gets_a_panel_of_its_own(tmp_path):
    lines = [training(step) for step in range(10, 60, 10)]
    metrics = {'mIoU': 40.0, 'aAcc': 80.0, 'step': 50}
    timing = {'time': 0.1, 'data_time': 0.1, 'step': 50}
    widths = []
    for name, last in (('without', timing), ('with', metrics)):
        log = write_log(tmp_path / f'{name}.json', *lines, last)
        plot_curves([log], tmp_path / f'{name}.png', title='$\\frac$')
        widths.append(cv2.imread(str(tmp_path / f'{name}.png')).shape[1])
    assert widths[1] == 2 * widths[0]


@pytest.mark.parametrize('validations', [1, 2])
def test_more_lines_than_a_panel_holds(tmp_path, validations):
    many = {f'mAP_{index}': 0.1 for index in range(20)}
    losses = {f'loss_{index}': 0.1 for index in range(20)}
    lines = [training(step) | losses for step in (10, 20)]
    lines += [many | dict(step=10 * step) for step in range(1, 1 + validations)]
    log = write_log(tmp_path / 'a.json', lines[0], *lines[2:], lines[1])
    plot_curves([log], tmp_path / 'a.png')
    assert cv2.imread(str(tmp_path / 'a.png')).shape[0] < 600


def test_losses_that_are_not_numbers_leave_gaps(tmp_path):
    values = np.array([1.0, np.nan, 3.0, 3.0])
    expected = [1.0, np.nan, 3.0, 3.0]
    np.testing.assert_allclose(smoothed(values, window=2), expected)
    log = write_log(tmp_path / 'a.json', training(1), training(2, float('nan')))
    plot_curves([log], tmp_path / 'a.png')
    assert (tmp_path / 'a.png').exists()


def test_smoothing_is_the_mean_of_neighbours():
    assert smoothed(np.array([0.0, 3.0, 6.0]), 3).tolist() == [1.5, 3.0, 4.5]


def test_a_log_without_losses_and_metrics_is_refused(tmp_path):
    log = write_log(tmp_path / 'scalars.json', tail='{"lr"')
    with pytest.raises(ValueError, match='no losses and no metrics'):
        plot_curves([log], tmp_path / 'curves.png')
    assert not (tmp_path / 'curves.png').exists()


# --------------------------------------------------------------------------- report


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / 'picture.png'
    save_image(path, np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))
    return path


def test_report_is_escaped_and_carries_its_pictures(tmp_path, picture):
    write_report(
        tmp_path / 'report.html',
        '<b>title</b>',
        'first & foremost\n\nsecond',
        Table(['task', 'score'], [['a <i>', 0.98765], ['b', 3]]),
        [Section('head <h1>', 'text "x"', 'cmd < in', [Picture(picture, 'cap>')])],
    )
    page = (tmp_path / 'report.html').read_text()
    for text in (
        '<h1>&lt;b&gt;title&lt;/b&gt;</h1>',
        '<p>first &amp; foremost</p>\n<p>second</p>',
        '<td>a &lt;i&gt;</td>',
        '>0.988</td>',
        '>3</td>',
        '<h2>head &lt;h1&gt;</h2>',
        '<pre><code>cmd &lt; in</code></pre>',
        '<figcaption>cap&gt;</figcaption>',
    ):
        assert text in page
    data = re.findall(r'src="data:image/\w+;base64,([^"]+)"', page)
    image = cv2.imdecode(np.frombuffer(base64.b64decode(data[0]), np.uint8), 1)
    assert len(data) == 1 and image.shape == (40, 60, 3)


def test_report_needs_nothing_from_elsewhere(tmp_path, picture):
    sections = [Section('pictures', pictures=[Picture(picture)] * 2)]
    write_report(tmp_path / 'a.html', 'a', 'b', Table(['c'], []), sections)
    page = (tmp_path / 'a.html').read_text()
    sources = re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^"\s)]{0,11})', page)
    assert sources == ['data:image/'] * 2
    assert '<script' not in page and '//' not in re.sub(r'base64,[^"]*', '', page)


@pytest.mark.parametrize(
    ('rows', 'file', 'error'),
    [
        ([['a', 1]], 'missing.png', FileNotFoundError),
        ([['a', 1]], 'report.html', ValueError),  # no picture
        ([['a']], 'picture.png', ValueError),  # one cell for two columns
    ],
)
def test_a_report_that_fails_leaves_the_old_one(tmp_path, picture, rows, file, error):
    path = tmp_path / 'report.html'
    path.write_text('old')
    sections = [Section('s', pictures=[Picture(tmp_path / file)])]
    with pytest.raises(error):
        write_report(path, 't', 'i', Table(['a', 'b'], rows), sections)
    assert path.read_text() == 'old'
