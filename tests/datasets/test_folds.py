"""Folds of the three layouts: whole groups, every picture validated once."""

import json
from collections import Counter
from pathlib import Path

import pytest

from mmpatchconvnet.datasets.folds import assign, by_field, by_name, write_folds

PEOPLE = {'ann': 3, 'ben': 2, 'cat': 2, 'dan': 1}
NAMES = [f'{who}_{i}.jpg' for who, count in PEOPLE.items() for i in range(count)]


def write(path: Path, content: str = '') -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content or path.name)


def files(root: Path) -> Counter:
    """The names of all pictures below a folder, read through the links."""
    return Counter(path.read_text() for path in root.rglob('*.jpg'))


def class_folders(root: Path) -> Path:
    for i, name in enumerate(NAMES):
        write(root / f'train/{i % 2}' / name)
    write(root / 'val/0/eve_0.jpg')
    return root


def label_maps(root: Path) -> Path:
    for name in NAMES:
        write(root / 'images/train' / name)
        write(root / 'labels/train' / name.replace('.jpg', '.png'))
    return root


def coco(root: Path) -> Path:
    images = [
        dict(id=i, file_name=name, scene=name[:3]) for i, name in enumerate(NAMES)
    ]
    for name in NAMES:
        write(root / 'images/train' / name)
    annotations = [dict(id=9, image_id=2), dict(id=8, image_id=7)]
    content = dict(info='kept', images=images, annotations=annotations)
    write(root / 'annotations/instances_train.json', json.dumps(content))
    return root


@pytest.mark.parametrize('layout', [class_folders, label_maps, coco])
def test_every_picture_is_validated_once_and_no_group_is_split(layout, tmp_path):
    group_of = by_field('scene') if layout is coco else by_name('[^_]+')
    source = layout(tmp_path / 'source')
    roots = write_folds(source, tmp_path / 'folds', group_of, 3)
    images = '' if layout is class_folders else 'images'
    validated: Counter = Counter()
    for root in roots:
        train, val = files(root / images / 'train'), files(root / images / 'val')
        assert train + val == Counter(NAMES)
        assert not {n[:3] for n in train} & {n[:3] for n in val}
        validated += val
    assert validated == Counter(NAMES)


def test_classes_and_label_maps_stay_with_their_pictures(tmp_path):
    (root, _) = write_folds(
        class_folders(tmp_path / 'a'), tmp_path / 'folds', by_name('[^_]+'), 2
    )
    for path in root.rglob('*.jpg'):
        assert path.parent.name == str(NAMES.index(path.name) % 2)
    (root, _) = write_folds(
        label_maps(tmp_path / 'b'), tmp_path / 'maps', by_name('[^_]+'), 2
    )
    for picture in (root / 'images').rglob('*.jpg'):
        label = root / 'labels' / picture.parent.name / f'{picture.stem}.png'
        assert label.read_text() == label.name


def test_coco_files_hold_the_annotations_of_their_images(tmp_path):
    roots = write_folds(
        coco(tmp_path / 'source'), tmp_path / 'folds', by_field('scene'), 2
    )
    seen = []
    for root in roots:
        content = json.loads((root / 'annotations/instances_val.json').read_text())
        assert content['info'] == 'kept'
        images = {image['id'] for image in content['images']}
        assert {one['image_id'] for one in content['annotations']} == images & {2, 7}
        seen += sorted(images)
    assert sorted(seen) == list(range(len(NAMES)))


def test_a_class_of_one_person_keeps_its_folder_in_both_parts(tmp_path):
    for name in NAMES:
        write(tmp_path / f'a/train/{name[:3]}' / name)
    for root in write_folds(tmp_path / 'a', tmp_path / 'folds', by_name('[^_]+'), 2):
        for part in ('train', 'val'):
            assert {p.name for p in (root / part).iterdir()} == {*PEOPLE}


def test_other_files_are_not_taken_for_pictures(tmp_path):
    source = class_folders(tmp_path / 'a')
    write(source / 'train/0/Thumbs.db')
    (root, _) = write_folds(source, tmp_path / 'folds', by_name('[^_]+'), 2)
    assert not list(root.rglob('*.db'))


@pytest.mark.parametrize(
    ('layout', 'lost', 'message'),
    [
        (coco, 'images/train/ben_1.jpg', r'ben_1.jpg is missing, but the COCO file'),
        (label_maps, 'labels/train/ben_1.png', r'ben_1.jpg has no label map'),
    ],
)
def test_what_is_missing_is_named_before_anything_is_written(
    layout, lost, message, tmp_path
):
    source = layout(tmp_path / 'source')
    (source / lost).unlink()
    group_of = by_field('scene') if layout is coco else by_name('[^_]+')
    with pytest.raises(ValueError, match=message):
        write_folds(source, tmp_path / 'folds', group_of, 2)
    assert not (tmp_path / 'folds').exists()


def test_links_survive_a_move_of_all_data(tmp_path):
    write_folds(
        class_folders(tmp_path / 'old/a'), tmp_path / 'old/b', by_name('[^_]+'), 2
    )
    (tmp_path / 'old').rename(tmp_path / 'new')
    assert files(tmp_path / 'new/b/fold0') == Counter(NAMES)


def test_folds_have_about_the_same_size():
    groups = {str(i): str(i // 3) for i in range(60)}
    assert set(Counter(assign(groups, 4).values()).values()) == {15}


@pytest.mark.parametrize(
    ('group_of', 'num_folds', 'message'),
    [
        (by_name('[0-9]+'), 2, r'ann_0.jpg does not begin with .*regular expression'),
        (by_name('[^_]+'), 5, r'5 folds do not fit 4 groups'),
        (by_name('[^_]+'), 1, r'1 folds do not fit 4 groups'),
        (by_field('scene'), 2, r"ann_0.jpg has no field 'scene': give .*file_name"),
    ],
)
def test_what_cannot_be_split_is_named(group_of, num_folds, message, tmp_path):
    source = class_folders(tmp_path / 'source')
    with pytest.raises(ValueError, match=message):
        write_folds(source, tmp_path / 'folds', group_of, num_folds)
    assert not (tmp_path / 'folds').exists()


def test_a_folder_without_pictures_and_one_that_exists_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r'no training pictures: give .*train/CLASS'):
        write_folds(tmp_path, tmp_path / 'folds', by_name('.'), 2)
    with pytest.raises(FileExistsError, match=r'exists: give a new folder'):
        write_folds(tmp_path, tmp_path, by_name('.'), 2)
