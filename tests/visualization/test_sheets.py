"""Prediction sheets: everything is drawn, and in the right place."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from mmpatchconvnet.visualization import panels, sheets
from mmpatchconvnet.visualization.canvas import Text, shorten, text_width
from mmpatchconvnet.visualization.sheets import SheetRow, draw_sheet, save_image

SIZE = sheets.PANEL  # pictures of this size are drawn pixel by pixel
GREY = (200, 200, 200)
PALETTE = ((255, 0, 0), (0, 0, 255))
# What `PALETTE` half transparent over `GREY` looks like.
RED, BLUE = (227, 100, 100), (100, 100, 227)


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


@pytest.mark.det
@pytest.mark.parametrize('kind', ['bitmap', 'polygon'])
def test_masks_of_mmdet_are_drawn(kind):
    from mmdet.structures import mask as structures

    if kind == 'bitmap':
        masks = structures.BitmapMasks(square(20, 20)[None].numpy(), SIZE, SIZE)
    else:
        corners = np.array([20, 20, 170, 20, 170, 170, 20, 170], float)
        masks = structures.PolygonMasks([[corners]], SIZE, SIZE)
    sample = BaseDataElement()
    sample.gt_instances = instances([1], masks)
    sheet = draw_sheet([SheetRow(grey_picture(), sample)], ['a', 'b'], PALETTE)
    assert pixel(sheet, 1, 40, 40) == BLUE and pixel(sheet, 1, 200, 200) == GREY


@pytest.mark.det
def test_boxes_are_drawn_where_there_are_no_masks():
    from mmdet.structures.bbox import HorizontalBoxes

    sample = BaseDataElement()
    # In pixels of a picture that is shown at half its size.
    corners = HorizontalBoxes(torch.tensor([[100.0, 200.0, 500.0, 600.0]]))
    sample.gt_instances = InstanceData(labels=torch.tensor([1]), bboxes=corners)
    image = grey_picture(2 * SIZE, 2 * SIZE)
    sheet = draw_sheet([SheetRow(image, sample)], ['a', 'b'], PALETTE)
    assert pixel(sheet, 1, 200, 50) == PALETTE[1]
    assert pixel(sheet, 1, 300, 250) == PALETTE[1]
    assert pixel(sheet, 1, 200, 150) == GREY


def test_of_overlapping_objects_the_smaller_is_on_top():
    sample = BaseDataElement()
    masks = torch.stack([square(120, 120, side=60), square(20, 20, side=300)])
    sample.gt_instances = instances([0, 1], masks)
    sheet = draw_sheet([SheetRow(grey_picture(), sample)], ['a', 'b'], PALETTE)
    assert pixel(sheet, 1, 130, 130) == RED and pixel(sheet, 1, 40, 40) == BLUE


def test_a_box_with_swapped_corners_is_drawn():
    sample = BaseDataElement()
    corners = torch.tensor([[250.0, 100.0, 50.0, 300.0]])
    sample.gt_instances = InstanceData(labels=torch.tensor([1]), bboxes=corners)
    sheet = draw_sheet([SheetRow(grey_picture(), sample)], ['a', 'b'], PALETTE)
    assert pixel(sheet, 1, 200, 50) == pixel(sheet, 1, 200, 250) == PALETTE[1]


def test_names_of_neighbours_do_not_cover_each_other():
    tags = [Text(x, 50, 'ball 0.99', size=10) for x in (10, 40, 50, 300)]
    first, second, third, far = panels.separate_tags(tags)
    assert (first, far) == (tags[0], tags[3])  # free ones stay
    assert first.y + 14 < second.y and second.y + 14 < third.y
    low = Text(0, 9.4, 'ball', size=10)  # where 9.4 + 15 - 9.4 is less than 15
    assert len({tag.y for tag in panels.separate_tags([low] * 3)}) == 3


def test_objects_of_a_single_class_differ_in_colour():
    sample = BaseDataElement()
    masks = torch.stack([square(20, 20), square(220, 220)])
    sample.gt_instances = instances([0, 0], masks)
    sheet = draw_sheet([SheetRow(grey_picture(), sample)], ['cell'], PALETTE)
    first, second = pixel(sheet, 1, 40, 40), pixel(sheet, 1, 240, 240)
    assert len({first, second, GREY}) == 3


def test_a_picture_without_objects_is_unchanged():
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


def test_one_row_per_picture_and_one_column_per_side():
    maps = [np.zeros((SIZE, SIZE), np.uint8)] * 2
    both = SheetRow(grey_picture(), label_maps(*maps))
    truth = SheetRow(grey_picture(), label_maps(maps[0]))
    one, three = (draw_sheet([both] * count, ['a'], PALETTE) for count in (1, 3))
    narrow = draw_sheet([truth], ['a'], PALETTE)
    assert one.dtype == np.uint8 and one.shape[1] == three.shape[1]
    assert three.shape[0] - one.shape[0] >= 2 * SIZE
    assert one.shape[1] - narrow.shape[1] == SIZE + sheets.GAP


def test_legend_names_only_visible_classes():
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


def prediction(truth: int, label: int, score: float = 0.9) -> SheetRow:
    sample = BaseDataElement()
    sample.gt_label, sample.pred_label = torch.tensor([truth]), torch.tensor([label])
    sample.pred_score = torch.full((3,), (1 - score) / 2)
    sample.pred_score[label] = score
    return SheetRow(grey_picture(50, 50), sample)


def test_predictions_are_marked_right_or_wrong():
    classes = ['cat, house cat', 'dog', 'cow']
    right = draw_sheet([prediction(1, 1)], classes)
    wrong = draw_sheet([prediction(1, 2)], classes)
    assert has_color(right, sheets.RIGHT) and not has_color(right, sheets.WRONG)
    assert has_color(wrong, sheets.WRONG) and not has_color(wrong, sheets.RIGHT)


def test_predictions_are_laid_out_as_a_grid():
    row, full, two = (
        draw_sheet([prediction(0, 0)] * count, ['a', 'b', 'c']) for count in (1, 6, 7)
    )
    assert full.shape[1] == two.shape[1] == row.shape[1] + 5 * (sheets.TILE + 12)
    assert full.shape[0] == row.shape[0] < two.shape[0]
    tiles = (two == GREY).all(axis=-1).sum() / sheets.TILE**2
    assert round(tiles) == 7


def test_predictions_without_truth_are_neither_right_nor_wrong():
    row = prediction(0, 1)
    del row.sample.gt_label
    sheet = draw_sheet([row], ['a', 'b', 'c'])
    assert not has_color(sheet, sheets.RIGHT) and not has_color(sheet, sheets.WRONG)


@pytest.mark.parametrize(
    'sample', [label_maps(np.full((8, 8), 2, np.uint8)), prediction(0, 2).sample]
)
def test_a_class_without_a_name_is_an_error(sample):
    with pytest.raises(ValueError, match='class 2, but 2 classes are named'):
        draw_sheet([SheetRow(grey_picture(), sample)], ['a', 'b'])


def test_an_empty_sheet_is_an_error():
    with pytest.raises(ValueError, match='at least one row'):
        draw_sheet([], ['a'])


def test_names_with_dollars_are_not_formulas():
    row = SheetRow(grey_picture(), label_maps(np.zeros((SIZE, SIZE), np.uint8)))
    assert draw_sheet([row], ['$a_{$'], title='$\\frac$').size


def test_long_names_are_shortened():
    short = shorten('a very long name indeed', 60, 12)
    assert short.endswith('…') and text_width(short, 12) <= 60
    assert shorten('fits', 60, 12) == 'fits'


def test_more_classes_than_colours_get_distinct_colours():
    colors = sheets.class_colors(40, palette=PALETTE)
    assert len({tuple(color) for color in colors.tolist()}) == 40
    assert sheets.class_colors(2, PALETTE).tolist() == [list(c) for c in PALETTE]


def test_pictures_are_written_completely(tmp_path):
    picture = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    save_image(tmp_path / 'new' / 'a.png', picture)
    read = cv2.imread(str(tmp_path / 'new' / 'a.png'))[..., ::-1]
    assert (read == picture).all()
    with pytest.raises(ValueError, match=r"'a\.gif'"):
        save_image(tmp_path / 'a.gif', picture)
    assert [path.name for path in tmp_path.rglob('*.*')] == ['a.png']
