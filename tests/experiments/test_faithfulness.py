"""Maps against masks and curves: by hand on 4 x 4 pixels, and with small models."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as mask_utils
from torch import nn

from mmpatchconvnet import cli
from mmpatchconvnet.attention.placement import Axis, Placement
from mmpatchconvnet.experiments import faithfulness, map_segmentation
from mmpatchconvnet.experiments.faithfulness import (
    SCORES,
    area,
    blurred,
    curve,
    draw_faithfulness,
    measure,
    points_inside,
    share_inside,
)
from mmpatchconvnet.experiments.map_segmentation import (
    THRESHOLDS,
    confusion,
    draw_segmentation,
    label_map,
    mean_iou,
    measure_segmentation,
)
from mmpatchconvnet.experiments.object_masks import ObjectMasks
from mmpatchconvnet.experiments.rows import append_row
from mmpatchconvnet.experiments.saliency import (
    Explained,
    Explainer,
    FromMap,
    cam_maps,
    to_shares,
)
from mmpatchconvnet.inference.pictures import read_picture
from mmpatchconvnet.visualization.faithfulness import plot_faithfulness

MASK = np.zeros((4, 4), bool)
MASK[:2, 1:3] = True  # four of sixteen pixels
ORDER = np.arange(16.0).reshape(4, 4)  # the last pixel comes first


def test_share_and_pointing_by_hand():
    masks = np.stack([MASK] * 3)
    maps = np.stack([ORDER, MASK, ~MASK]).astype(float)
    inside = 1 + 2 + 5 + 6
    np.testing.assert_allclose(share_inside(maps, masks), [inside / 120, 1, 0])
    assert share_inside(0 * maps, masks).tolist() == [0, 0, 0]
    assert points_inside(maps, masks).tolist() == [False, True, False]
    maps[0, 0, 2] = 99
    assert points_inside(maps, masks).tolist() == [True, True, False]


def score_inside(batch):
    """The brightness within the mask: what a model of this object would see."""
    return batch[:, 0].numpy()[:, MASK].mean(1)


BLACK, WHITE = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)


def test_curves_by_hand():
    brightness = curve(lambda x: x.mean((1, 2, 3)).numpy(), BLACK, WHITE, ORDER, 4)
    np.testing.assert_allclose(brightness, [0, 0.25, 0.5, 0.75, 1])
    assert area(brightness) == pytest.approx(0.5)
    # From the last row to the first; each of the upper two has half of the mask.
    np.testing.assert_allclose(
        curve(score_inside, BLACK, WHITE, ORDER, 4), [0, 0, 0, 0.5, 1]
    )
    np.testing.assert_allclose(
        curve(score_inside, WHITE, BLACK, ORDER, 4), [1, 1, 1, 0.5, 0]
    )


def test_a_perfect_order_beats_a_random_one():
    random = np.random.default_rng(0)
    for _ in range(20):
        other = random.random((4, 4))
        for start, end, sign in ((BLACK, WHITE, 1), (WHITE, BLACK, -1)):
            best, found = (
                area(curve(score_inside, start, end, order.astype(float)))
                for order in (MASK, other)
            )
            assert sign * (best - found) > 0


def test_blurring_keeps_the_mean_and_little_else():
    noise = torch.rand(1, 3, 32, 48, generator=torch.manual_seed(0))
    soft = blurred(noise)
    assert soft.shape == noise.shape and soft.std() < 0.1 * noise.std()
    assert float(soft.mean()) == pytest.approx(float(noise.mean()), abs=0.02)


def test_a_map_lies_alike_over_the_input_and_over_the_picture():
    """A picture of 40 pixels, halved: the cells of the input are twice as large."""
    half = Axis(0.5)
    cell = Axis(1 / 5)
    place = Placement(half, half, (40, 40), (20, 20), cell, cell, (4, 4))
    cells = to_shares(np.random.default_rng(0).random((1, 4, 4)))
    found = Explained(
        np.zeros(1, int), np.ones(1), torch.zeros(1, 3, 20, 20), {'x': cells}, place
    )
    picture, small = found.over_picture('x'), found.over_input('x')
    assert picture.shape == (1, 40, 40) and small.shape == (1, 20, 20)
    averaged = picture.reshape(1, 20, 2, 20, 2).mean((2, 4))
    np.testing.assert_allclose(averaged, small, atol=0.08 * small.max())


class Mean(nn.Module):
    def forward(self, maps):
        return (maps[-1].mean((2, 3)),)


class Linear(nn.Linear):
    def forward(self, feats):
        return super().forward(feats[-1])


def test_grad_cam_of_average_pooling_is_the_class_activation_map():
    """Zhou et al. 2016: the weights of the class times the channels of the map."""
    pytest.importorskip('pytorch_grad_cam', reason='needs grad-cam')
    torch.manual_seed(0)
    head = Linear(8, 3)
    features = torch.randn(1, 8, 4, 5)
    maps = cam_maps(FromMap(Mean(), head), features, np.array([2, 0]))
    weighted = torch.einsum('kc,bchw->khw', head.weight[[2, 0]], features) / 20
    expected = weighted.clamp(min=0).detach().numpy()
    np.testing.assert_allclose(maps['Grad-CAM'], expected, atol=1e-6)
    assert maps['Grad-CAM++'].shape == (2, 4, 5) and maps['Grad-CAM++'].min() >= 0
    assert not np.allclose(maps['Grad-CAM++'], expected)


def test_a_missing_library_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'pytorch_grad_cam', None)
    with pytest.raises(ImportError, match=r"pip install 'mmpatchconvnet\[faithfulness"):
        Explainer(tmp_path)


# ------------------------------------------------------------------ with small models


@pytest.fixture(scope='module')
def explained_dir(per_class_dir):
    pytest.importorskip('pytorch_grad_cam', reason='needs grad-cam')
    return per_class_dir


def write_coco(file, pictures, classes, masks):
    """A COCO file in which each picture shows the first two classes."""
    images, instances = [], []
    for number, path in enumerate(sorted(pictures.glob('*.png'))):
        height, width = cv2.imread(str(path)).shape[:2]
        images.append(dict(id=number, file_name=path.name, height=height, width=width))
        for label, place in enumerate(masks):
            mask = np.zeros((height, width), np.uint8)
            mask[place] = 1
            code = mask_utils.encode(np.asfortranarray(mask))
            code['counts'] = code['counts'].decode()
            instances.append(
                dict(
                    id=len(instances) + 1,
                    image_id=number,
                    category_id=label + 7,
                    segmentation=code,
                )
            )
    categories = [dict(id=k + 7, name=name) for k, name in enumerate(classes)]
    content = dict(images=images, annotations=instances, categories=categories)
    file.write_text(json.dumps(content))
    return file


HALVES = np.s_[:, :40], np.s_[:, 40:]


@pytest.fixture(scope='module')
def coco(pictures, tmp_path_factory):
    from mmpatchconvnet.datasets import CLASSES

    file = tmp_path_factory.mktemp('masks') / 'coco.json'
    return write_coco(file, pictures, CLASSES, HALVES)


@pytest.fixture(scope='module')
def only_pictures(pictures, tmp_path_factory):
    """Without the file that is none."""
    folder = tmp_path_factory.mktemp('pictures')
    for path in pictures.glob('*.png'):
        (folder / path.name).symlink_to(path)
    return folder


@pytest.mark.cls
def test_rows_of_a_model_with_masks(explained_dir, only_pictures, coco):
    rows = measure(explained_dir, only_pictures, coco, every=3, command='me')
    assert [row['map'] for row in rows] == [
        'attention', 'Grad-CAM', 'Grad-CAM++', 'random',
    ]  # fmt: skip
    for row in rows:
        assert (row['pictures'], row['maps'], row['command']) == ('2', '4', 'me')
        assert row['pooling'] == 'a token for each class'
        # The halves cover the picture, and each map is measured on one of them.
        assert float(row['share of things']) == float(row['pointing things']) == 100
        assert 0 < float(row['share of class']) < 100
        insertion, deletion = (
            np.array(row[f'{name} curve'].split(), float)
            for name in ('insertion', 'deletion')
        )
        assert len(insertion) == len(deletion) == faithfulness.STEPS + 1
        assert insertion[-1] == deletion[0]  # the whole picture
        assert area(insertion) == pytest.approx(float(row['insertion']), abs=0.1)
    assert len({row['insertion curve'] for row in rows}) > 1


@pytest.mark.cls
def test_without_masks_the_class_of_the_highest_score_is_measured(
    explained_dir, work_dir, pictures, tmp_path
):
    (tmp_path / '0.png').symlink_to(pictures / '0.png')
    rows = measure(work_dir('classifier'), tmp_path)
    assert {row['maps'] for row in rows} == {'1'}
    assert {row['pooling'] for row in rows} == {'one token'}
    assert {row['share of class'] for row in rows} == {''}
    with pytest.raises(ValueError, match='every is 0: give 1 or more'):
        measure(work_dir('classifier'), tmp_path, every=0)
    (tmp_path / '1.png').write_bytes(b'')
    with pytest.raises(ValueError, match=r'1\.png'):
        measure(work_dir('classifier'), tmp_path)


@pytest.mark.seg
def test_a_segmentor_is_refused(work_dir):
    pytest.importorskip('pytorch_grad_cam', reason='needs grad-cam')
    with pytest.raises(ValueError, match=r'has no classifier .*\(EncoderDecoder\)'):
        Explainer(work_dir('upernet'))


def read_as(path, name):
    return replace(read_picture(path), relative=name)


@pytest.mark.cls
def test_masks_of_other_pictures_are_refused(pictures, coco, tmp_path):
    from mmpatchconvnet.datasets import CLASSES

    masks = ObjectMasks(coco, list(CLASSES))
    found = masks.of(read_as(pictures / '4.png', '4.png'))
    assert found.shape == (6, 80, 64) and found[0, :, :40].all()
    assert found[1, :, 40:].all() and found.sum() == 80 * 64
    with pytest.raises(ValueError, match=r'coco\.json does not list x\.png'):
        masks.of(read_as(pictures / '4.png', 'x.png'))
    with pytest.raises(ValueError, match=r'0\.png with 96x64 pixels, but it has 64x80'):
        masks.of(read_as(pictures / '4.png', '0.png'))
    with pytest.raises(ValueError, match=r"no category 'dog'"):
        ObjectMasks(coco, ['ball', 'dog'])
    for text in ('[]', 'no json', '{"images": []}'):
        (tmp_path / 'a.json').write_text(text)
        with pytest.raises(ValueError, match=r'a\.json cannot be read as a COCO file'):
            ObjectMasks(tmp_path / 'a.json', ['ball'])
    with pytest.raises(ValueError, match=r'b\.json cannot be read as a COCO file'):
        ObjectMasks(tmp_path / 'b.json', ['ball'])


# ------------------------------------------------------------------------ segmentation


def test_label_maps_by_hand():
    maps = np.zeros((2, 4, 4))
    maps[0, :2], maps[1, 1:] = 0.2, 3  # each is divided by its largest value
    maps[0, 0, 0] = 0.1
    found = label_map(maps, np.array([4, 1]), 0.6)
    assert found.tolist() == [[0, 5, 5, 5], [5] * 4, [2] * 4, [2] * 4]
    assert not label_map(maps[:0], np.array([], int), 0.5).any()
    perfect = label_map(MASK[None].astype(float), np.array([0]), 0.5)
    assert mean_iou(confusion(MASK.astype(int), perfect, 2)) == 100
    nothing = np.zeros((4, 4), int)
    assert mean_iou(confusion(MASK.astype(int), nothing, 3)) == 100 * 0.75 / 2


def test_thresholds_are_chosen_on_training_pictures(monkeypatch, tmp_path):
    class Model:
        methods, pooling = ('attention',), 'one token'

    def count(explainer, folder, masks_file, limit=None):
        """The threshold 0.2 is best for `train`, 0.6 for `val`."""
        best = dict(train=3, val=11)[folder.name]
        assert masks_file.name == f'instances_{folder.name}.json'
        pixels = np.tile(np.array([[1, 1], [0, 1]]), (len(THRESHOLDS), 1, 1))
        pixels[best, 0, 1] = 0
        return {('attention', which): pixels for which in ('true', 'predicted')}

    monkeypatch.setattr(map_segmentation, 'Explainer', lambda work_dir: Model)
    monkeypatch.setattr(map_segmentation, 'confusions', count)
    monkeypatch.setattr(map_segmentation, 'origin_of', lambda work_dir: {})
    monkeypatch.setattr(map_segmentation, 'software', dict)
    rows = measure_segmentation(tmp_path, tmp_path, '')
    assert {(row['threshold'], row['mIoU']) for row in rows} == {('0.2', '50.00')}


@pytest.mark.cls
def test_a_small_model_segments(explained_dir, only_pictures, coco):
    found = map_segmentation.confusions(
        Explainer(explained_dir), only_pictures, coco, limit=2
    )
    assert {method for method, _ in found} == {
        'attention', 'Grad-CAM', 'Grad-CAM++', 'random',
    }  # fmt: skip
    for pixels in found.values():
        assert pixels.shape == (len(THRESHOLDS), 7, 7)
        assert (pixels.sum((1, 2)) == 2 * 64 * 96).all()
    # No score of this softmax is over a half, so no class is predicted.
    assert not found['attention', 'predicted'][:, :, 1:].any()
    assert not found['attention', 'true'][0, :, 3:].any()
    assert found['attention', 'true'][0, :, 1:].any()


# --------------------------------------------------------------------- table and plot


def row(name: str, seed: int, data: str = 'scenes') -> dict[str, str]:
    scores = dict.fromkeys(SCORES, '') | {'insertion': f'{50 + seed}.00'}
    curves = {f'{name} curve': '10.0 90.0 95.0' for name in ('insertion', 'deletion')}
    return dict(data=data, pooling='one token', map=name, **scores, **curves)


def test_tables_have_mean_and_deviation():
    rows = [row(name, seed) for name in ('attention', 'random') for seed in (0, 2)]
    assert draw_faithfulness(rows).splitlines()[0::2] == [
        '| pooling | map | insertion, % | seeds |',
        '| one token | attention | 51.0 ± 1.4 | 2 |',
    ]
    segmented = [
        dict(pooling='average', map='Grad-CAM', labels=labels, mIoU=miou)
        for labels, miou in (('true', '40.0'), ('predicted', '30.0'), ('true', '42.0'))
    ]
    assert draw_segmentation(segmented).splitlines()[2] == (
        '| average | Grad-CAM | 41.0 ± 1.4 | 30.0 | 2 |'
    )


def test_the_command_plots_one_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for data in ('scenes', 'signs'):
        for seed in range(2):
            append_row(Path('rows.csv'), row('attention', seed, data))

    def draw(*options: str) -> str:
        command = ['mmpatchconvnet', 'plot', 'faithfulness', 'rows.csv', 'a.png']
        monkeypatch.setattr(sys, 'argv', [*command, *options])
        try:
            cli.main()
        except SystemExit as error:
            return str(error)
        return ''

    assert 'data sets scenes, signs: choose one' in draw()
    assert not draw('--where', 'data=signs')
    one = cv2.imread('a.png').shape
    other = row('random', 0) | {'pooling': 'average'}
    plot_faithfulness([row('attention', 0), other], 'b.png')
    assert cv2.imread('b.png').shape == pytest.approx((one[0], 2 * one[1], 3), abs=2)
    Path('rows.csv').write_text('model,ms\ns60,1\n')
    assert "rows.csv has no column 'data'" in draw()
