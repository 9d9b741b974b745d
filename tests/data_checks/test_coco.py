"""Faults of COCO files, each named before training."""

import json
import math
import re

import pytest
from PIL import Image
from small_data import coco_config, noise, sentences, write_coco

pytestmark = pytest.mark.det
TRAIN, VAL = 'train_dataloader', 'val_dataloader'


def drop(field):
    return lambda one: one.pop(field)


def put(field, value):
    return lambda one: one.update({field: value})


def annotations(change, step=2):
    """Changes each `step`-th annotation: 4 of 8."""
    return lambda content, split: [change(a) for a in content['annotations'][::step]]


def pictures(change):
    return lambda content, split: [change(image) for image in content['images']]


def check(tmp_path, edit, loader=TRAIN, stops=True, **settings):
    root = write_coco(tmp_path / 'data', edit)
    return sentences(coco_config(root, **settings), stops, loader)


def test_a_sound_file_has_no_faults(tmp_path):
    cfg = coco_config(write_coco(tmp_path / 'data'))
    assert sentences(cfg, stops=True) == sentences(cfg, stops=False) == ''


SOME = r"4 of 8 {} {} \(first: annotation 1 of '{}_0.png'\): \w+"
FIELDS = {field: f'without {field}' for field in ('area', 'bbox', 'category_id')}


@pytest.mark.parametrize(
    ('change', 'what'),
    [
        *((drop(field), what) for field, what in FIELDS.items()),
        *((put(field, None), what) for field, what in FIELDS.items()),
        (put('bbox', [1, 2, 3]), 'whose bbox is not 4 numbers'),
        (put('bbox', ['1', '2', '3', '4']), 'whose bbox is not 4 numbers'),
        (put('bbox', [1, math.nan, 3, 4]), 'whose bbox is not 4 numbers'),
        (
            put('category_id', [9]),
            'whose image_id or category_id is neither a number nor a text',
        ),
        (put('bbox', 7), 'whose bbox is not 4 numbers'),
        (put('area', '225'), 'whose area is not a number'),
        (put('area', math.nan), 'whose area is not a number'),
    ],
)
def test_faults_of_fields_are_counted_with_the_first_one(tmp_path, change, what):
    for loader, split in ((TRAIN, 'train'), (VAL, 'val')):
        text = check(tmp_path / split, annotations(change), loader)
        assert_matches(SOME.format('annotations', what, split), text)


def assert_matches(pattern, text):
    assert re.search(pattern, text), text
    assert '\n' not in text  # one sentence


@pytest.mark.parametrize(
    ('mask', 'what'),
    [
        (None, 'without a segmentation'),
        ([], 'without a segmentation'),
        ([1, 2, 3, 4, 5, 6], 'whose segmentation is not'),
        ([['1', '2', '3', '4', '5', '6']], 'whose segmentation is not'),
        ([[1, 2, 3, math.nan, 5, 6]], 'whose segmentation is not'),
        ('text', 'whose segmentation is not'),
        (dict(size=[40, 40]), 'whose segmentation is not'),
        (dict(size=[9, 9], counts=[81]), 'whose RLE has another size'),
        (dict(size=[40, 40], counts=[5]), 'whose RLE has another size'),
        (dict(size=[9, 9], counts='abc'), 'whose RLE has another size'),
    ],
)
def test_faults_of_masks_are_named_only_where_masks_are_used(tmp_path, mask, what):
    edit = annotations(put('segmentation', mask))
    text = check(tmp_path, edit)
    assert_matches(f'4 of 8 objects {what}', text)
    cfg = coco_config(tmp_path / 'data', masks=False)
    assert sentences(cfg, stops=True) == ''


@pytest.mark.parametrize('mask', [[[1, 2, 3, 4]], [[1, 2, 3, 4, 5, 6, 7]]])
def test_polygons_without_three_points_are_dropped_but_cannot_be_scored(tmp_path, mask):
    edit = annotations(put('segmentation', mask))
    assert_matches('4 with no polygon', check(tmp_path, edit, stops=False))
    cfg = coco_config(tmp_path / 'data')
    assert sentences(cfg, True, TRAIN) == ''
    assert_matches('4 of 8 objects whose first polygon', sentences(cfg, True, VAL))


DROPPED = [
    (put('area', 0), 'with an area of 0 or less'),
    (put('bbox', [1, 2, 0, 4]), 'less than 1 pixel wide or high'),
    (put('bbox', [1, 2, -3, 4]), 'less than 1 pixel wide or high'),
    (put('bbox', [0.1, 0.2, 0.3, 0.4]), 'less than 1 pixel wide or high'),
    (put('bbox', [400, 2, 9, 9]), 'outside the picture'),
    (put('category_id', 9), 'of categories that the file does not list'),
    (put('image_id', 99), 'of pictures that the file does not list'),
    (put('image_id', '0'), 'of pictures that the file does not list'),
    (put('ignore', 1), 'marked with ignore'),
]


@pytest.mark.parametrize(('change', 'reason'), DROPPED)
def test_dropped_objects_are_counted_and_an_error_if_none_is_left(
    tmp_path, change, reason
):
    told = check(tmp_path / 'some', annotations(change), stops=False)
    assert_matches(f'4 of 8 objects dropped by mmdet: 4 {reason}', told)
    told = check(tmp_path / 'all', annotations(change, step=1))
    assert_matches(f'8 of 8 objects dropped by mmdet: 8 {reason}.*none is left', told)


def test_the_count_of_dropped_objects_is_that_of_mmdet(tmp_path):
    from mmdet.datasets import CocoDataset
    from mmengine.registry import init_default_scope

    def edit(content, split):
        for (change, _), annotation in zip(
            DROPPED, content['annotations'] * 2, strict=False
        ):
            if annotation['id'] < 8:
                change(annotation)

    cfg = coco_config(write_coco(tmp_path / 'data', edit), masks=False)
    init_default_scope('mmdet')
    settings = dict(cfg.train_dataloader.dataset)
    settings.pop('type')
    loaded = CocoDataset(**settings).load_data_list()
    kept = sum(len(one['instances']) for one in loaded)
    assert kept < 8
    assert f'{8 - kept} of 8 objects dropped' in sentences(cfg, False, TRAIN)


@pytest.mark.parametrize(
    ('edit', 'loader', 'stops', 'message'),
    [
        (annotations(drop('id')), TRAIN, True, '4 of 8 annotations without id'),
        (annotations(drop('image_id')), TRAIN, True, 'without image_id'),
        (annotations(drop('iscrowd')), TRAIN, False, 'without iscrowd.*0 is assumed'),
        (annotations(drop('iscrowd')), VAL, True, 'without iscrowd.*"iscrowd": 0'),
        (annotations(put('id', 7)), TRAIN, True, '3 of 8 annotations whose id is tak'),
        (annotations(put('id', 'x'), 8), VAL, True, 'not a whole number'),
        (annotations(put('id', 0), 8), VAL, False, '1 of 8 .*id 0.*counts as a miss'),
        (annotations(put('iscrowd', 1), 1), TRAIN, True, 'all 8 objects have iscrowd'),
        (annotations(put('bbox', [30, 5, 20, 9])), TRAIN, False, '4 of 8.*beyond the'),
        (pictures(drop('height')), TRAIN, True, '4 of 4 pictures without height'),
        (pictures(drop('file_name')), VAL, True, 'without file_name .*number 0'),
        (pictures(put('height', -1)), TRAIN, True, 'whose height or width'),
        (pictures(put('width', '40')), TRAIN, True, 'whose height or width'),
        (pictures(put('height', math.nan)), TRAIN, True, 'whose height or width'),
        (pictures(put('height', 20)), TRAIN, True, '40 x 20 in the JSON, 40 x 40 lo'),
        (pictures(put('id', 1)), TRAIN, True, "3 of 4 .*merge into one .first: 1 of '"),
        (lambda c, s: c.update(images=[]), TRAIN, True, 'lists no pictures'),
        (lambda c, s: c.pop('annotations'), TRAIN, True, 'no annotations.*train on'),
        (lambda c, s: c.update(annotations=[]), VAL, True, 'no annotations.*to score'),
        (lambda c, s: c.update(annotations={}), VAL, True, 'COCO.*annotations is not'),
        (lambda c, s: c['categories'][0].pop('id'), VAL, True, "not a COCO.*'id'"),
        (
            lambda c, s: c['categories'].append(dict(id=1, name='x')),
            VAL,
            True,
            'several categories with the id 1: renumber',
        ),
    ],
)
def test_other_faults_are_named(tmp_path, edit, loader, stops, message):
    # Ids that are taken or missing also hide pictures, so there may be other sentences.
    lines = check(tmp_path, edit, loader, stops).splitlines()
    assert [line for line in lines if re.search(message, line)], lines


def test_a_test_set_without_truth_passes(tmp_path):
    cfg = coco_config(write_coco(tmp_path, lambda c, s: c.pop('annotations')))
    cfg.val_evaluator.format_only = True
    assert sentences(cfg, True, VAL) == ''


@pytest.mark.parametrize('color', ['color', 'color_ignore_orientation'])
@pytest.mark.parametrize('said', [(40, 20), (20, 40)])
def test_sizes_are_compared_with_the_picture_as_loaded(tmp_path, color, said):
    def edit(content, split):
        exif = Image.Exif()
        exif[0x0112] = 6
        for image in content['images']:
            picture = Image.fromarray(noise(0)[:20])
            path = root / 'images' / split / image['file_name']
            picture.save(path, exif=exif)
            image.update(width=said[0], height=said[1])

    root = tmp_path / 'data'
    cfg = coco_config(write_coco(root, edit), masks=False)
    cfg.train_dataloader.dataset.pipeline[0].color_type = color
    fits = said == ((20, 40) if color == 'color' else (40, 20))
    remedy = 'color_ignore_orientation' if color == 'color' else "color_type='color'"
    text = sentences(cfg, True, TRAIN)
    assert (text == '') if fits else (remedy in text and '4 of 4 opened' in text)


@pytest.mark.parametrize(
    ('spoil', 'what'),
    [
        (lambda path: path.write_bytes(b''), 'pictures of 0 bytes'),
        (lambda path: path.unlink(), 'pictures missing'),
        (
            lambda path: path.write_bytes(path.read_bytes()[:-30]),
            'opened pictures that cannot be read',
        ),
    ],
)
def test_bad_pictures_are_errors_unless_they_are_skipped(tmp_path, spoil, what):
    cfg = coco_config(write_coco(tmp_path))
    spoil(tmp_path / 'images/train/train_2.png')
    assert_matches(f'1 of 4 {what}.*train_2.png', sentences(cfg, True, TRAIN))
    assert sentences(cfg, True, TRAIN, skip=True) == ''
    assert_matches(f'1 of 4 {what}', sentences(cfg, False, TRAIN, skip=True))


def test_pictures_of_training_without_objects_may_be_missing(tmp_path):
    """mmdet drops them, if `filter_empty_gt` is set or not read."""

    def edit(content, split):
        content['images'].append(dict(id=9, file_name='gone.png', width=40, height=40))

    cfg = coco_config(write_coco(tmp_path, edit))
    assert sentences(cfg, True, TRAIN) == ''
    assert 'gone.png' in sentences(cfg, True, VAL)


def test_data_beyond_the_checks_pass(tmp_path):
    root = write_coco(tmp_path, lambda c, s: c['images'][0].update(file_name='no.png'))
    for changes in (dict(indices=1), dict(backend_args=dict(backend='http'))):
        assert sentences(coco_config(root, **changes), True, TRAIN) == ''
    cfg = coco_config(root)
    cfg.train_dataloader.dataset.data_prefix.img = 's3://bucket'
    assert sentences(cfg, True, TRAIN) == ''


def test_validation_on_the_training_pictures_is_a_warning(tmp_path):
    cfg = coco_config(write_coco(tmp_path))
    cfg.val_dataloader.dataset.ann_file = 'annotations/instances_train.json'
    cfg.val_dataloader.dataset.data_prefix.img = 'images/train'
    assert_matches('reads the pictures of train_dataloader', sentences(cfg, False))


def test_a_class_that_the_config_leaves_out_is_no_fault(tmp_path):
    cfg = coco_config(write_coco(tmp_path))
    cfg.train_dataloader.dataset.metainfo.classes = ('fruit',)
    assert sentences(cfg, True, TRAIN) == sentences(cfg, False, TRAIN) == ''


def test_every_fault_at_once_is_one_report(tmp_path):
    """One pass names all kinds, and nothing ends in a traceback."""
    junk = [None, [], {}, 'x', 7, math.nan, -1, [None] * 4, [[]], dict(counts=3)]

    def edit(content, split):
        fields = list(content['annotations'][0])
        for number, value in enumerate(junk):
            for field in fields:
                content['annotations'].append(
                    {**content['annotations'][0], 'id': number, field: value}
                )
        for value in junk:
            content['images'] += [value]
            for field in ('id', 'file_name', 'width', 'height'):
                image = dict(content['images'][0], id=f'{field}{value}')
                content['images'].append({**image, field: value})
        content['annotations'] += junk

    cfg = coco_config(write_coco(tmp_path, edit))
    text = sentences(cfg, True)
    for what in ('not dicts', 'without bbox', 'not 4 numbers', 'RLE', 'is taken'):
        assert what in text


def parts(cfg, *names):
    """The training data as several data sets, each from a file of its own."""
    one = cfg.train_dataloader.dataset
    datasets = [dict(one, ann_file=f'annotations/{name}.json') for name in names]
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=datasets)
    return cfg


def test_a_data_set_without_objects_may_be_one_of_several(tmp_path):
    cfg = coco_config(write_coco(tmp_path))
    file = tmp_path / 'annotations/instances_train.json'
    content = json.loads(file.read_text())
    (file.parent / 'none.json').write_text(json.dumps({**content, 'annotations': []}))
    parts(cfg, 'instances_train', 'none')
    assert sentences(cfg, True, TRAIN) == ''
    assert 'has no annotations' in sentences(cfg, False, TRAIN)


def test_data_sets_that_parse_annotations_in_their_own_way_are_not_checked(tmp_path):
    edit = annotations(lambda one: (one.pop('bbox'), one.pop('area')), 1)
    cfg = coco_config(write_coco(tmp_path, edit))
    assert 'without bbox' in sentences(cfg, True, TRAIN)
    cfg.train_dataloader.dataset.type = 'CocoPanopticDataset'
    assert sentences(cfg, True, TRAIN) == ''


def test_classes_from_a_file_of_names(tmp_path):
    cfg = coco_config(write_coco(tmp_path / 'data'))
    names = tmp_path / 'names.txt'
    cfg.train_dataloader.dataset.metainfo = dict(classes=str(names))
    names.write_text('leaf\nfruit\n')
    assert sentences(cfg, True, TRAIN) == ''
    names.write_text('fruit\nleaf\n')
    assert 'keep this order' in sentences(cfg, True, TRAIN)


def test_masks_of_objects_that_are_not_used_do_not_matter(tmp_path):
    def edit(content, split):
        for one in content['annotations']:
            if one['category_id'] == 2:
                del one['segmentation']

    cfg = coco_config(write_coco(tmp_path, edit))
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.metainfo = dict(classes=('leaf',))
    assert sentences(cfg, stops=True) == ''


def test_a_metric_that_reads_no_file_needs_no_iscrowd(tmp_path):
    cfg = coco_config(write_coco(tmp_path, annotations(drop('iscrowd'), 1)))
    assert 'which the metric reads' in sentences(cfg, True, VAL)
    cfg.val_evaluator.ann_file = None
    assert sentences(cfg, True, VAL) == ''


def test_a_missing_iscrowd_hides_no_other_fault(tmp_path):
    def change(one):
        one.pop('iscrowd')
        one['category_id'] = 9

    told = check(tmp_path, annotations(change), stops=False)
    assert '4 of 8 objects dropped' in told


def test_ids_of_pictures_may_be_whole_reals(tmp_path):
    def edit(content, split):
        for one in content['images']:
            one['id'] = float(one['id'])

    assert check(tmp_path, edit) == check(tmp_path / 'b', edit, stops=False) == ''


def test_pictures_behind_a_file_backend_are_not_looked_for(tmp_path):
    cfg = coco_config(write_coco(tmp_path))
    (tmp_path / 'images/train/train_1.png').unlink()
    assert 'missing' in sentences(cfg, True, TRAIN)
    cfg.train_dataloader.dataset.pipeline[0].backend_args = dict(backend='far')
    assert sentences(cfg, True, TRAIN) == ''


@pytest.mark.parametrize(
    ('suffix', 'where'),
    [('.webp', dict(exif=True)), ('.jpg', dict(xmp=b'<x tiff:Orientation="6"/>'))],
)
def test_orientations_that_opencv_does_not_see_turn_nothing(tmp_path, suffix, where):
    def edit(content, split):
        exif = Image.Exif()
        exif[0x0112] = 6
        for image in content['images']:
            image.update(file_name=f'{image["id"]}{suffix}', height=20)
            path = tmp_path / 'images' / split / image['file_name']
            more = dict(exif=exif) if 'exif' in where else where
            Image.fromarray(noise(0)[:20]).save(path, **more)

    cfg = coco_config(write_coco(tmp_path, edit), masks=False)
    assert sentences(cfg, True, TRAIN) == ''
