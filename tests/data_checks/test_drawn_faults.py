"""Data drawn with faults: whatever is wrong, a check ends in sentences.

Where it finds no error, the host itself can read the data.
"""

import json
import os
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image
from rich.console import Console
from small_data import coco_config, folders_config, maps_config, noise

from mmpatchconvnet.config_files import ConfigError
from mmpatchconvnet.data_checks.coco import check_content, read_coco
from mmpatchconvnet.data_checks.coco_annotations import Use
from mmpatchconvnet.data_checks.findings import Findings
from mmpatchconvnet.data_checks.quick import check_data
from mmpatchconvnet.data_checks.report import print_report
from mmpatchconvnet.data_checks.whole import check_everything

HUGE = 10**400  # more than a float holds
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from((HUGE, -HUGE, 0, 1, 2, -1, '\ud800', '\0', 'a.png'))
)
JUNK = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=5,
)
NUMBER = st.floats(-9, 99) | st.integers(-9, 99)
BOX = st.lists(NUMBER, min_size=4, max_size=4)
RLE = st.fixed_dictionaries(
    dict(
        size=st.sampled_from(([40, 40], [40.0, 40], [9, 9])) | JUNK,
        counts=st.sampled_from(([1600], [1600.0], [-5, 1605], [800.5, 799.5], 'abc'))
        | JUNK,
    )
)
POLYGONS = st.lists(st.lists(NUMBER, max_size=9), max_size=2)
PLAIN = dict(
    id=1,
    image_id=1,
    category_id=1,
    bbox=[0, 0, 9, 9],
    area=9,
    iscrowd=0,
    segmentation=[[0, 0, 9, 0, 9, 9]],
)
IMAGE = dict(id=1, file_name='a.png', width=40, height=40)
LEAF = dict(id=1, name='leaf')


def changed(plain: dict, values: st.SearchStrategy = JUNK) -> st.SearchStrategy[dict]:
    """An entry of which some fields have another value, or none."""
    field = st.tuples(st.sampled_from(list(plain)), values)
    gone = st.lists(st.sampled_from(list(plain)), max_size=1)
    changes = st.tuples(st.lists(field, max_size=2).map(dict), gone)
    return changes.map(
        lambda c: {k: v for k, v in {**plain, **c[0]}.items() if k not in c[1]}
    )


def mostly(sound: Any, junk: st.SearchStrategy) -> st.SearchStrategy:
    return st.just(sound) | st.just(sound) | junk


@st.composite
def coco_contents(draw: Callable) -> dict:
    """Up to three pictures and four annotations, with faults in some fields."""
    images = [
        draw(
            mostly(dict(IMAGE, id=i, file_name=f'{i}.png'), changed(dict(IMAGE, id=i)))
        )
        for i in range(1, draw(st.integers(1, 3)) + 1)
    ]
    annotations = []
    for i in range(1, draw(st.integers(1, 4)) + 1):
        own = dict(PLAIN, id=i, image_id=draw(st.integers(1, 3)))
        mask = st.fixed_dictionaries(dict(segmentation=RLE | POLYGONS))
        box = st.fixed_dictionaries(dict(bbox=BOX))
        annotations.append(
            draw(
                mostly(own, changed(own))
                | (mask | box).map(lambda change, own=own: {**own, **change})
            )
        )
    return dict(
        images=images + draw(st.just([]) | st.lists(JUNK, max_size=1)),
        annotations=annotations + draw(st.just([]) | st.lists(JUNK, max_size=1)),
        categories=draw(mostly([LEAF], st.lists(changed(LEAF), max_size=2))),
    )


USES = (
    Use(masks=True),
    Use(),
    Use(training=False, scored=True, scored_by_file=True, scored_masks=True),
    Use(classes=('leaf',), is_part=True),
)


def assert_sentences(findings: Findings) -> None:
    for stops in (True, False):
        for sentence in findings.sentences(stops):
            assert sentence.endswith('.') and '\n' not in sentence, sentence


def with_image(**fields: Any) -> dict:
    return dict(images=[{**IMAGE, **fields}], annotations=[PLAIN], categories=[LEAF])


@given(coco_contents(), st.sampled_from(USES))
@example(with_image(file_name=['a.png']), USES[0])
@example(with_image(width=HUGE), USES[0])
def test_any_coco_content_ends_in_sentences_and_its_objects_add_up(content, use):
    findings = Findings('a file')
    try:
        json.dumps(content['categories'])
        known = {one['id']: one['name'] for one in content['categories']}
    except (KeyError, TypeError):
        return
    used = check_content(content, use, findings)
    dropped = sum(group.count for group in findings.dropped.values())
    assert len(used) + dropped <= len(content['annotations'])
    assert all(one.category in known.values() for one in used)
    assert_sentences(findings)


@given(
    st.binary(max_size=20)
    | JUNK.map(lambda x: json.dumps(x).encode())
    | st.dictionaries(
        st.sampled_from(('images', 'annotations', 'categories')), JUNK
    ).map(lambda x: json.dumps(x).encode())
    | st.integers(0, 99).map(lambda n: json.dumps(dict(images=[IMAGE])).encode()[:n])
)
@example(b'[' * 100_000)
@example(b'{"images": ' + b'9' * 5000 + b'}')
def test_any_bytes_are_a_coco_file_or_one_sentence(content):
    with TemporaryDirectory() as folder:
        path = Path(folder, 'a.json')
        path.write_bytes(content)
        findings = Findings('a file')
        if read_coco(path, findings) is None:
            (sentence,) = findings.errors
            assert 'is not a COCO file' in sentence and sentence.endswith(
                'fix ann_file.'
            )
        assert_sentences(findings)


def read_by_host(cfg: Any, loader: str) -> None:
    """Load every sample as a training or test does; raises what the host raises."""
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        with redirect_stdout(StringIO()):  # pycocotools prints
            dataset = DATASETS.build(cfg[loader].dataset)
        for index in range(len(dataset)):
            dataset[index]


def assert_checked(cfg: Any) -> None:
    """The quick check and the whole one end in sentences, and a report is printed.

    What the whole one finds no error in can be read by the host.
    """
    loaders = ('train_dataloader', 'val_dataloader')
    try:
        for findings in check_data(cfg, loaders):
            assert_sentences(findings)
        checked, together = check_everything(cfg, lambda source: list)
    except ConfigError as error:
        assert str(error).endswith('.') and '\n' not in str(error)
        return
    output = StringIO()
    console = Console(file=output, width=200)
    errors = print_report(checked, together, console)
    if not errors:
        for loader in loaders:
            read_by_host(cfg, loader)


@pytest.mark.det
@given(coco_contents(), st.booleans())
@example(with_image(id=[]), False)
@example(with_image(file_name='\0'), False)
def test_a_coco_file_without_errors_is_read_by_the_host(content, masks):
    with TemporaryDirectory() as folder:
        root = Path(folder)
        (root / 'annotations').mkdir()
        for split in ('train', 'val'):
            (root / 'images' / split).mkdir(parents=True)
            for name in ('a.png', '1.png', '2.png', '3.png'):
                Image.fromarray(noise(0)).save(root / 'images' / split / name)
            file = root / f'annotations/instances_{split}.json'
            file.write_text(json.dumps(content))
        cfg = coco_config(root, masks)
        for loader in (cfg.train_dataloader, cfg.val_dataloader):
            loader.dataset.metainfo = dict(classes=('leaf',))
        assert_checked(cfg)


def save_picture(path: Path) -> None:
    Image.fromarray(noise(1)).save(path, format='PNG')


def save_map(path: Path, how: Callable = lambda labels: labels) -> None:
    labels = np.repeat(np.arange(3, dtype=np.uint8), 800)[:1600].reshape(40, 40)
    Image.fromarray(how(labels)).save(path, format='PNG')


def truncate(path: Path, save: Callable = save_picture) -> None:
    save(path)
    path.write_bytes(path.read_bytes()[:-40])


FAULTS: dict[str, Callable[[Path], Any]] = {
    'empty': lambda path: path.write_bytes(b''),
    'text': lambda path: path.write_text('text'),
    'truncated': truncate,
    'folder': lambda path: path.mkdir(),
    'dangling': lambda path: path.symlink_to('nowhere'),
    'loop': lambda path: path.symlink_to(path.name),
    'pipe': lambda path: os.mkfifo(path),
    'gone': lambda path: None,
}
MAPS: dict[str, Callable[[Path], Any]] = {
    'beyond': lambda path: save_map(path, lambda x: x + 7),
    'small': lambda path: save_map(path, lambda x: x[:9]),
    'colours': lambda path: save_map(path, lambda x: np.stack([x, x, x + 1], 2)),
    'copies': lambda path: save_map(path, lambda x: np.stack([x] * 3, 2)),
    'single': lambda path: save_map(path, lambda x: x * 0),
    'unlabelled': lambda path: save_map(path, lambda x: x * 0 + 255),
    'bool': lambda path: save_map(path, lambda x: x > 0),
    '16 bits': lambda path: save_map(path, lambda x: x.astype(np.uint16) * 1000),
}
NAMES = st.sampled_from(
    ('0', '1', '2', '.hidden', ' ', 'ü', '[red]x[bold]', os.fsdecode(b'\xff'), 'a\nb')
)
SUFFIXES = st.sampled_from(('.png', '.jpg', '.PNG', '.txt', ''))


def trees(faults: dict) -> st.SearchStrategy[dict[str, str]]:
    """Names of files, and what is wrong with each, mostly nothing."""
    names = st.builds(lambda a, b: a + b, NAMES, SUFFIXES)
    names = names.filter(str.strip)
    kinds = st.just('sound') | st.just('sound') | st.sampled_from(list(faults))
    return st.dictionaries(names, kinds, max_size=5)


@pytest.mark.cls
@given(st.dictionaries(NAMES.filter(str.strip), trees(FAULTS), max_size=3))
@example({'0': {'0': 'loop'}})
def test_class_folders_without_errors_are_read_by_the_host(folders):
    with TemporaryDirectory() as place:
        root = Path(place)
        for split in ('train', 'val'):
            (root / split).mkdir()
            for folder, files in folders.items():
                (root / split / folder).mkdir()
                for name, kind in files.items():
                    FAULTS.get(kind, save_picture)(root / split / folder / name)
        assert_checked(folders_config(root))


@pytest.mark.seg
@given(trees(FAULTS), trees(FAULTS | MAPS), st.none() | st.binary(max_size=9))
@example({}, {}, b'\xff')
@example({'0': 'loop'}, {}, None)
def test_label_maps_without_errors_are_read_by_the_host(images, maps, listed):
    with TemporaryDirectory() as place:
        root = Path(place)
        for split in ('train', 'val'):
            for part in ('images', 'labels'):
                (root / part / split).mkdir(parents=True)
            for name, kind in images.items():
                FAULTS.get(kind, save_picture)(root / 'images' / split / name)
            for name, kind in (dict.fromkeys(images, 'sound') | maps).items():
                path = root / 'labels' / split / name
                (FAULTS | MAPS).get(kind, save_map)(path)
        settings = dict(img_suffix='.png')
        if listed is not None:
            (root / 'list.txt').write_bytes(listed)
            settings['ann_file'] = 'list.txt'
        assert_checked(maps_config(root, **settings))
