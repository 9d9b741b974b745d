import numpy as np
import pytest
import torch
from config_files import TASKS
from mmengine.config import Config
from PIL import Image

from mmpatchconvnet import Predictor
from mmpatchconvnet.config_files import ConfigError
from mmpatchconvnet.inference.pictures import read_picture

# Random weights give all objects about the same score.
EVERY = dict(min_score=0.0)


def files_of(folder):
    """The config and the checkpoint of a work dir."""
    return next(folder.glob('*.py')), next(folder.glob('*.pth'))


def found(result):
    """What a model has found in a picture, by name."""
    names = ('label', 'scores', 'label_map', 'labels', 'boxes', 'masks')
    return {name: getattr(result, name) for name in names if hasattr(result, name)}


def assert_equal(ours, theirs):
    assert ours.file == theirs.file
    for name, value in found(theirs).items():
        np.testing.assert_allclose(
            found(ours)[name], value, rtol=1e-5, atol=1e-5, err_msg=name
        )


@pytest.mark.parametrize('task', TASKS)
def test_a_result_does_not_depend_on_the_batch_size(task, work_dir, pictures):
    predictor = Predictor(work_dir(task), **EVERY)
    names = [f'{i}.png' for i in (0, 1, 3, 2, 4)]  # two sizes, not sorted by size
    sources = [*(pictures / name for name in names), pictures / 'notes.txt']
    sources.insert(2, pictures / 'none.png')
    alone = list(predictor(sources))
    assert [r.file for r in alone] == [str(pictures / name) for name in names]
    for ours, theirs in zip(predictor(sources, batch_size=4), alone, strict=True):
        assert_equal(ours, theirs)


@pytest.mark.parametrize('task', TASKS)
def test_results_have_the_size_of_the_picture(task, work_dir, pictures):
    predictor = Predictor(work_dir(task), **EVERY)
    result = next(iter(predictor(pictures / '3.png')))
    assert result.image.shape == (80, 64, 3) and result.intensity.shape == (80, 64)
    if task == 'classifier':
        assert result.scores.shape == (len(result.classes),)
        assert result.label == result.scores.argmax()
    elif task == 'upernet':
        assert result.label_map.shape == (80, 64)
        assert result.label_map.dtype == np.uint8
    else:
        count = len(result.labels)
        assert count > 0 and result.masks.shape == (count, 80, 64)
        assert result.boxes.shape == (count, 4) and (np.diff(result.scores) <= 0).all()


@pytest.mark.det
def test_a_detector_finds_what_inference_detector_finds(work_dir, pictures):
    from mmdet.apis import inference_detector, init_detector

    config, checkpoint = files_of(work_dir('mask_rcnn'))
    model = init_detector(str(config), str(checkpoint), device='cpu')
    for result in Predictor(config, checkpoint, **EVERY)(pictures):
        instances = inference_detector(model, result.file).pred_instances
        assert len(instances) == len(result.labels) > 0
        np.testing.assert_allclose(result.scores, instances.scores, atol=1e-5)
        np.testing.assert_allclose(result.boxes, instances.bboxes, atol=1e-3)
        assert (result.masks == instances.masks.numpy()).all()


@pytest.mark.det
def test_a_minimum_score_keeps_the_better_objects(work_dir, pictures):
    every = next(iter(Predictor(work_dir('mask_rcnn'), **EVERY)(pictures)))
    limit = float(np.median(every.scores))
    some = next(iter(Predictor(work_dir('mask_rcnn'), min_score=limit)(pictures)))
    kept = every.scores >= limit
    assert 0 < kept.sum() < len(kept)
    np.testing.assert_allclose(some.boxes, every.boxes[kept], atol=1e-4)
    assert (some.masks == every.masks[kept]).all()


@pytest.mark.seg
def test_a_segmentor_finds_what_inference_model_finds(work_dir, pictures):
    from mmseg.apis import inference_model, init_model

    config, checkpoint = files_of(work_dir('upernet'))
    model = init_model(str(config), str(checkpoint), device='cpu')
    for result in Predictor(config, checkpoint)(pictures):
        theirs = inference_model(model, result.file).pred_sem_seg.data[0]
        np.testing.assert_array_equal(result.label_map, theirs)


@pytest.mark.cls
def test_a_classifier_finds_what_its_inferencer_finds(work_dir, pictures):
    from mmpretrain import ImageClassificationInferencer

    config, checkpoint = files_of(work_dir('classifier'))
    inferencer = ImageClassificationInferencer(str(config), str(checkpoint))
    for result in Predictor(config, checkpoint)(pictures):
        (theirs,) = inferencer(result.file)
        np.testing.assert_allclose(result.scores, theirs['pred_scores'], atol=1e-6)
        assert result.label == theirs['pred_label']
        assert result.classes[result.label] == theirs['pred_class']


@pytest.mark.parametrize('task', TASKS)
def test_arrays_are_pictures_too(task, work_dir, pictures):
    predictor = Predictor(work_dir(task), **EVERY)
    from_files = list(predictor(pictures))
    arrays = [result.image for result in from_files]
    for ours, theirs in zip(predictor(arrays), from_files, strict=True):
        assert found(ours).keys() == found(theirs).keys()
        for name, value in found(theirs).items():
            np.testing.assert_allclose(found(ours)[name], value, atol=1e-5)


@pytest.mark.parametrize('task', TASKS)
def test_a_folded_model_finds_the_same(task, work_dir, pictures):
    plain, folded = (
        Predictor(work_dir(task), deploy=deploy, **EVERY)
        for deploy in (None, 'float32')
    )
    assert len(list(folded.model.module.parameters())) < len(
        list(plain.model.module.parameters())
    )
    (ours, theirs) = (
        found(next(predictor(pictures / '0.png'))) for predictor in (folded, plain)
    )
    if task == 'upernet':
        (ours, theirs) = (
            predictor.model.logits(predictor.model.prepare(picture, picture.image))
            for predictor in (folded, plain)
            for picture in [read_picture(pictures / '0.png')]
        )
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    else:
        np.testing.assert_allclose(ours['scores'], theirs['scores'], atol=1e-4)


@pytest.mark.parametrize('task', TASKS[1:])
def test_a_picture_of_one_tile_is_not_cut(task, work_dir, pictures):
    whole, tiled = (
        next(Predictor(work_dir(task), tile=tile, overlap=8, **EVERY)(pictures))
        for tile in (None, 96)
    )
    assert_equal(tiled, whole)


@pytest.mark.parametrize('task', TASKS[1:])
def test_large_pictures_are_cut_into_tiles(task, work_dir, pictures):
    predictor = Predictor(work_dir(task), tile=64, overlap=16, **EVERY)
    sizes = []
    prepare = predictor.model.prepare

    def record(picture, image):
        sizes.append(image.shape[:2])
        return prepare(picture, image)

    predictor.model.prepare = record
    result = next(predictor(pictures))
    assert sizes == [(64, 56)] * 2 and result.image.shape == (64, 96, 3)
    if task == 'upernet':
        assert result.label_map.shape == (64, 96)
    else:
        assert result.boxes[:, 2].max() > 64 and result.masks.shape[1:] == (64, 96)


@pytest.mark.cls
def test_a_result_comes_before_the_next_picture_is_read(work_dir):
    read = []

    def camera():
        for number in range(3):
            read.append(number)
            yield np.zeros((32, 32, 3), np.uint8)

    results = Predictor(work_dir('classifier'))(camera())
    next(results)
    assert read == [0]


@pytest.mark.cls
def test_tiles_of_a_classifier_are_refused(work_dir):
    with pytest.raises(ValueError, match=r'tile=64 .* classifier.* leave it out'):
        Predictor(work_dir('classifier'), tile=64, overlap=16)


@pytest.mark.cls
def test_the_best_checkpoint_of_a_work_dir_is_used_or_the_last(work_dir, tmp_path):
    source = work_dir('classifier')
    config = next(source.glob('*.py'))
    content = torch.load(source / 'iter_8.pth', weights_only=True)
    (tmp_path / config.name).write_text(config.read_text())

    def save(name, bias):
        content['state_dict']['head.fc.bias'].zero_()[bias] = 99
        torch.save(content, tmp_path / name)

    def label():
        return next(Predictor(tmp_path)(np.zeros((32, 32, 3), np.uint8))).label

    save('iter_100.pth', 1)
    save('iter_20.pth', 2)
    assert label() == 1
    save('mine_500.pth', 4)  # no iteration
    assert label() == 1
    save('best_accuracy_top1_iter_20.pth', 3)
    assert label() == 3


@pytest.mark.cls
def test_files_that_do_not_make_a_model_are_refused(work_dir, tmp_path):
    config, _ = files_of(work_dir('classifier'))
    with pytest.raises(ValueError, match=r'without a checkpoint.*work dir'):
        Predictor(config)
    with pytest.raises(ValueError, match=r'nowhere does not exist.*work dir'):
        Predictor(tmp_path / 'nowhere')
    with pytest.raises(ValueError, match=r'0 config files .*give the config'):
        Predictor(tmp_path)
    (tmp_path / config.name).write_text(config.read_text())
    with pytest.raises(ValueError, match=r'no checkpoint .*give one'):
        Predictor(tmp_path)
    with pytest.raises(ValueError, match=r'none.pth is not a file'):
        Predictor(config, tmp_path / 'none.pth')
    (tmp_path / 'other.py').write_text('a = 1')
    with pytest.raises(ValueError, match=r'2 config files'):
        Predictor(tmp_path)


@pytest.mark.cls
def test_the_loader_of_a_config_is_kept_where_it_reads_other_pixels(
    work_dir, pictures, tmp_path
):
    config, checkpoint = files_of(work_dir('classifier'))
    cfg = Config.fromfile(config)
    loader = cfg.test_dataloader.dataset.pipeline[0]
    assert loader.type == 'LoadImageFromFile'
    loader.color_type = 'color_ignore_orientation'
    cfg.dump(tmp_path / 'other.py')
    predictor = Predictor(tmp_path / 'other.py', checkpoint)
    ours, theirs = (
        next(p(pictures)) for p in (predictor, Predictor(config, checkpoint))
    )
    assert_equal(ours, theirs)
    turned = Image.open(pictures / '0.png').convert('RGB')
    exif = turned.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    turned.save(tmp_path / 'a.jpg', exif=exif)
    with pytest.raises(ValueError, match=r'a\.jpg .*\(64, 96\).*EXIF.*LoadImage'):
        next(predictor(tmp_path / 'a.jpg'))
    with pytest.raises(ValueError, match=r'reads files only.*LoadImageFromFile'):
        next(predictor(np.zeros((32, 32, 3), np.uint8)))


@pytest.mark.cls
def test_pictures_that_cannot_be_read_are_skipped(work_dir, pictures, tmp_path, caplog):
    (tmp_path / 'b.png').write_bytes(b'')
    (tmp_path / 'a.png').write_bytes((pictures / '0.png').read_bytes())
    results = list(Predictor(work_dir('classifier'))(tmp_path))
    assert [result.file for result in results] == [str(tmp_path / 'a.png')]
    assert 'b.png is an empty file' in caplog.text
    assert len(repr(results[0])) < 500


@pytest.mark.cls
@pytest.mark.parametrize(
    ('argument', 'message'),
    [
        (dict(deploy='int8'), r"deploy='int8' is given: give float32, bfloat16"),
        (dict(min_score=1.5), r'min_score=1\.5 is no score: give 0 to 1'),
        (dict(device='cuda:77'), r'device=cuda:77 cannot be used'),
    ],
)
def test_arguments_out_of_their_range_are_refused(argument, message, work_dir):
    with pytest.raises(ValueError, match=message):
        Predictor(work_dir('classifier'), **argument)


@pytest.mark.cls
def test_a_missing_host_is_named(work_dir, tmp_path):
    config, checkpoint = files_of(work_dir('classifier'))
    cfg = Config.fromfile(config)
    cfg.default_scope = 'mmnone'
    cfg.dump(tmp_path / 'a.py')
    with pytest.raises(ValueError, match=r'a\.py needs mmnone, .*pip install'):
        Predictor(tmp_path / 'a.py', checkpoint)


@pytest.mark.cls
@pytest.mark.parametrize(
    ('setting', 'message'),
    [
        (
            dict(model=dict(backbone=dict(dept=1))),
            r'backbone\.dept is no argument of P',
        ),
        (dict(model=dict(head=dict(type='LinearHed'))), 'the nearest is LinearClsHead'),
        ({'test_pipeline.1.sale': 1}, 'Resize: the nearest is scale'),
    ],
)
def test_settings_that_no_part_takes_are_named(setting, message, work_dir, tmp_path):
    config, checkpoint = files_of(work_dir('classifier'))
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(setting)
    cfg.test_dataloader.dataset.pipeline = cfg.test_pipeline
    cfg.dump(tmp_path / 'a.py')
    with pytest.raises(ConfigError, match=message):
        Predictor(tmp_path / 'a.py', checkpoint)


@pytest.mark.cls
def test_a_classifier_of_several_classes_a_picture_is_refused(work_dir, tmp_path):
    config, checkpoint = files_of(work_dir('classifier'))
    cfg = Config.fromfile(config)
    cfg.model.head = dict(type='MultiLabelLinearClsHead', num_classes=6, in_channels=16)
    cfg.dump(tmp_path / 'a.py')
    with pytest.raises(ValueError, match='gives a picture several classes'):
        Predictor(tmp_path / 'a.py', checkpoint)


@pytest.mark.det
def test_models_of_other_kinds_are_named(work_dir, pictures):
    predictor = Predictor(work_dir('mask_rcnn'))
    predictor.model.key = 'pred_panoptic_seg'
    with pytest.raises(ValueError, match=r'MaskRCNN gives .*pred_instances.* without'):
        next(predictor(pictures))


@pytest.mark.cls
@pytest.mark.parametrize(
    'error',
    [
        torch.cuda.OutOfMemoryError('CUDA out of memory.'),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_too_little_memory_is_named(error, work_dir, pictures, monkeypatch):
    predictor = Predictor(work_dir('classifier'))

    def test_step(batch):
        raise error

    monkeypatch.setattr(predictor.model.module, 'test_step', test_step)
    with pytest.raises(MemoryError, match=r'for 3 of \d+x\d+ pixels.*smaller'):
        next(predictor(pictures, batch_size=3))


@pytest.mark.det
def test_masks_of_low_scores_are_not_computed(work_dir):
    config, checkpoint = files_of(work_dir('mask_rcnn'))
    predictor = Predictor(config, checkpoint, min_score=0.7)
    assert predictor.model.module.test_cfg.rcnn.score_thr == 0.7
    low = Predictor(config, checkpoint, min_score=0.01)
    assert low.model.module.test_cfg.rcnn.score_thr == 0.05


@pytest.mark.seg
def test_classes_and_palette_are_those_of_the_training(work_dir, tmp_path):
    config, checkpoint = files_of(work_dir('upernet'))
    predictor = Predictor(config, checkpoint)
    assert predictor.classes[:2] == ['background', 'ball']
    assert tuple(predictor.palette[0]) == (90, 95, 105)
    content = torch.load(checkpoint, weights_only=True)
    # As mmengine's Runner writes it for another order of classes, with random colours.
    random = np.random.RandomState(42).randint(0, 255, (7, 3)).tolist()
    content['meta']['dataset_meta'] = dict(classes=list('abcdefg'), palette=random)
    torch.save(content, tmp_path / 'a.pth')
    predictor = Predictor(config, tmp_path / 'a.pth')
    assert predictor.classes == list('abcdefg') and predictor.palette is None
    torch.save(content['state_dict'], tmp_path / 'b.pth')
    assert Predictor(config, tmp_path / 'b.pth').classes[1] == 'ball'
