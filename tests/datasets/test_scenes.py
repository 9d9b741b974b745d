"""The generated sample data: what is drawn, and what is written."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from mmpatchconvnet.datasets import (
    CLASSES,
    PALETTE,
    SEGMENTATION_CLASSES,
    SEGMENTATION_PALETTE,
    draw_scene,
    scene_files,
    scenes,
    write_scenes,
)

SEEDS = range(40)
SETTINGS = {'num_train': 24, 'num_val': 8, 'size': 96, 'seed': 3}
COUNTS = {'train': 24, 'val': 8}


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def written(split: str, index: int) -> scenes.Scene:
    return draw_scene(scene_files.scene_seed(split, index, seed=3), size=96)


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp('data') / 'scenes', **SETTINGS)


# ------------------------------------------------------------------------- draw_scene


def test_names_and_colors_match():
    assert len(CLASSES) == len(PALETTE) == len(set(PALETTE))
    assert SEGMENTATION_CLASSES[1:] == CLASSES == tuple(sorted(CLASSES))
    assert SEGMENTATION_PALETTE[1:] == PALETTE


def test_a_seed_is_a_picture():
    first, again, other = draw_scene(5), draw_scene(5), draw_scene(6)
    for name in ('image', 'labels', 'masks', 'visible'):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.image != other.image).any()


@pytest.mark.parametrize('size', [64, 128, 200])
def test_scenes_are_well_formed(size: int):
    seen = set()
    for seed in SEEDS:
        scene = draw_scene(seed, size)
        count = len(scene.labels)
        assert 2 <= count <= 5
        assert scene.image.shape == (size, size, 3) and scene.image.dtype == np.uint8
        assert scene.masks.shape == (count, size, size) and scene.masks.dtype == bool
        assert scene.labels.dtype == np.int64
        assert scene.masks.sum(axis=0).max() == 1  # disjoint
        assert (scene.masks.sum(axis=(1, 2)) >= 90 * (size / 128) ** 2).all()
        assert ((scene.visible >= 0.4) & (scene.visible <= 1)).all()
        assert scene.image.std() > 10
        seen.update(scene.labels.tolist())
    assert seen == set(range(len(CLASSES)))


def test_things_lie_inside_the_picture_and_some_are_covered():
    drawn = [draw_scene(seed) for seed in SEEDS]
    for scene in drawn:
        border = scene.masks.copy()
        border[:, 1:-1, 1:-1] = False
        assert not border.any()
    assert any(scene.visible.min() < 0.8 for scene in drawn)


def test_masks_lie_on_the_painted_things(monkeypatch: pytest.MonkeyPatch):
    def surface(thing, grid, rng):
        return np.full((*grid.shape[1:], 3), 10.0)  # far brighter than any ground

    monkeypatch.setattr(scenes, '_paint_surface', surface)
    for seed in SEEDS:
        scene = draw_scene(seed)
        painted = scene.image.min(axis=2) == 255
        masks = scene.masks.any(axis=0)
        near = masks.copy()
        for axis in (0, 1, 0, 1):  # two pixels: soft edges reach past sharp tips
            near |= np.roll(near, 1, axis) | np.roll(near, -1, axis)
        assert painted[masks].all() and not painted[~near].any()


# ----------------------------------------------------------------------- write_scenes


@pytest.mark.parametrize('split', COUNTS)
def test_coco_holds_the_drawn_masks(root: Path, split: str):
    coco = COCO(root / 'coco' / 'annotations' / f'instances_{split}.json')
    assert [c['name'] for c in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    assert len(coco.getImgIds()) == COUNTS[split]
    for index, image in coco.imgs.items():
        scene = written(split, index)
        annotations = coco.loadAnns(coco.getAnnIds(index))
        masks = np.stack([coco.annToMask(a) for a in annotations]).astype(bool)
        labels = [a['category_id'] - 1 for a in annotations]
        np.testing.assert_array_equal(masks, scene.masks)
        np.testing.assert_array_equal(labels, scene.labels)
        np.testing.assert_array_equal(
            read(root / 'coco' / 'images' / split / image['file_name']), scene.image
        )
        for annotation, mask in zip(annotations, masks, strict=True):
            x, y, width, height = map(int, annotation['bbox'])
            assert annotation['area'] == mask.sum()
            assert annotation['area'] == mask[y : y + height, x : x + width].sum()
            assert annotation['iscrowd'] == 0


@pytest.mark.det
def test_mmdet_reads_the_masks(root: Path):
    from mmdet.datasets import CocoDataset

    dataset = CocoDataset(
        ann_file=str(root / 'coco' / 'annotations' / 'instances_val.json'),
        data_prefix={'img': str(root / 'coco' / 'images' / 'val')},
        metainfo={'classes': CLASSES},
        pipeline=[
            {'type': 'LoadImageFromFile'},
            {'type': 'mmdet.LoadAnnotations', 'with_mask': True, 'poly2mask': True},
        ],
    )
    assert len(dataset) == COUNTS['val']
    for index, results in enumerate(dataset):
        scene = written('val', index)
        np.testing.assert_array_equal(results['gt_masks'].masks, scene.masks)
        np.testing.assert_array_equal(results['gt_bboxes_labels'], scene.labels)
        assert not results['gt_ignore_flags'].any()


@pytest.mark.cls
@pytest.mark.parametrize('split', COUNTS)
def test_mmpretrain_reads_the_classes_of_each_scene(root: Path, split: str):
    from mmpretrain.datasets import MultiLabelDataset

    dataset = MultiLabelDataset(
        ann_file=f'annotations/labels_{split}.json',
        data_root=str(root / 'coco'),
        data_prefix=f'images/{split}',
    )
    assert dataset.metainfo['classes'] == list(CLASSES)
    assert len(dataset) == COUNTS[split]
    for index in range(len(dataset)):
        scene, info = written(split, index), dataset.get_data_info(index)
        assert info['gt_label'] == sorted({*scene.labels.tolist()})
        np.testing.assert_array_equal(read(info['img_path']), scene.image)


@pytest.mark.parametrize('split, name', [('train', 'training'), ('val', 'validation')])
def test_ade_maps_are_the_masks(root: Path, split: str, name: str):
    for index in range(COUNTS[split]):
        scene = written(split, index)
        labels = read(root / 'ade' / 'annotations' / name / f'{index:06d}.png')
        expected = np.ones((96, 96), dtype=np.uint8)
        for label, mask in zip(scene.labels, scene.masks, strict=True):
            expected[mask] = 1 + SEGMENTATION_CLASSES.index(CLASSES[label])
        np.testing.assert_array_equal(labels, expected)
        assert labels.dtype == np.uint8
        image = read(root / 'ade' / 'images' / name / f'{index:06d}.png')
        np.testing.assert_array_equal(image, scene.image)


def test_class_folders_hold_what_can_be_seen(root: Path):
    for split, count in COUNTS.items():
        folder = root / 'classes' / split
        assert sorted(p.name for p in folder.iterdir()) == list(CLASSES)
        expected = {
            f'{CLASSES[label]}/{index:06d}_{i}.png'
            for index in range(count)
            for i, label in enumerate(written(split, index).labels)
            if written(split, index).visible[i] >= 0.6
        }
        files = list(folder.rglob('*.png'))
        assert {f'{p.parent.name}/{p.name}' for p in files} == expected
        assert {read(path).shape for path in files} == {(64, 64, 3)}
    assert all(any((root / 'classes' / 'train' / c).iterdir()) for c in CLASSES)


def test_train_and_val_never_share_a_scene(root: Path):
    seeds = {
        split: {
            scene_files.scene_seed(split, i, seed)
            for i in range(9)
            for seed in range(9)
        }
        for split in COUNTS
    }
    assert not seeds['train'] & seeds['val']
    pictures = {
        split: {
            path.read_bytes() for path in (root / 'coco' / 'images' / split).iterdir()
        }
        for split in COUNTS
    }
    assert len(pictures['train']) == 24 and len(pictures['val']) == 8
    assert not pictures['train'] & pictures['val']


def test_second_call_returns_at_once(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scene_files, 'draw_scene', None)  # would raise if called
    assert write_scenes(str(root), **SETTINGS) == root


def test_other_settings_are_refused(root: Path):
    with pytest.raises(ValueError, match=r'scenes .*delete'):
        write_scenes(root, **{**SETTINGS, 'seed': 4})


def test_foreign_folders_are_refused_and_empty_ones_used(tmp_path: Path):
    foreign = tmp_path / 'foreign'
    foreign.mkdir()
    write_scenes(foreign, num_train=1, num_val=1, size=64)
    (foreign / 'scenes.json').unlink()
    for path in (foreign, foreign / 'coco' / 'images' / 'train' / '000000.png'):
        with pytest.raises(ValueError, match=f'{path} .*exists'):
            write_scenes(path, **SETTINGS)


@pytest.mark.parametrize('error', [RuntimeError, KeyboardInterrupt])
def test_interruption_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
):
    def draw_one(seed: int, size: int) -> scenes.Scene:
        if seed == scene_files.scene_seed('val', 1, seed=3):
            raise error
        return draw_scene(seed, size)

    monkeypatch.setattr(scene_files, 'draw_scene', draw_one)
    with pytest.raises(error):
        write_scenes(tmp_path / 'scenes', num_train=2, num_val=2, size=64, seed=3)
    assert list(tmp_path.iterdir()) == []


def test_a_faster_process_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root, settings = tmp_path / 'scenes', {'num_train': 1, 'num_val': 1, 'size': 64}

    def overtaken(*place: object) -> None:
        monkeypatch.undo()
        write_scenes(root, **settings)
        scene_files._write_split(*place)

    monkeypatch.setattr(scene_files, '_write_split', overtaken)
    assert write_scenes(root, **settings) == root
    assert list(tmp_path.iterdir()) == [root]


def test_pictures_are_copied_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def no_links(source: Path, target: Path) -> None:
        raise OSError

    monkeypatch.setattr(scene_files.os, 'link', no_links)
    root = write_scenes(tmp_path / 'scenes', num_train=1, num_val=1, size=64)
    picture = root / 'ade' / 'images' / 'training' / '000000.png'
    assert picture.read_bytes() == (root / 'coco/images/train/000000.png').read_bytes()


def test_progress_is_plain_text_off_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write_scenes(tmp_path / 'scenes', num_train=2, num_val=1, size=64)
    assert capsys.readouterr().out == 'Drawing 2 train scenes\nDrawing 1 val scenes\n'


@pytest.mark.parametrize(
    'name, value, allowed',
    [('num_train', 0, 1), ('num_val', -1, 1), ('size', 63, 64), ('seed', -1, 0)],
)
def test_error_texts(tmp_path: Path, name: str, value: int, allowed: int):
    text = f'{name} is {value}.* {allowed} or more.*: give a larger {name}'
    with pytest.raises(ValueError, match=text):
        write_scenes(tmp_path / 'scenes', **{**SETTINGS, name: value})
    if name in ('size', 'seed'):
        with pytest.raises(ValueError, match=text):
            draw_scene(**{'seed': 0, name: value})
    assert list(tmp_path.iterdir()) == []
