import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmpatchconvnet import Predictor

TASKS = [
    pytest.param('classifier', marks=pytest.mark.cls),
    pytest.param('mask_rcnn', marks=pytest.mark.det),
    pytest.param('upernet', marks=pytest.mark.seg),
]
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
    alone = list(predictor(pictures))
    assert [r.file for r in alone] == [str(pictures / f'{i}.png') for i in range(5)]
    for ours, theirs in zip(predictor(pictures, batch_size=4), alone, strict=True):
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
        Predictor(work_dir(task), deploy=deploy, **EVERY)(pictures / '0.png')
        for deploy in (None, 'float32')
    )
    ours, theirs = found(next(folded)), found(next(plain))
    name = 'label_map' if task == 'upernet' else 'scores'
    assert (np.abs(ours[name] - theirs[name]) < 1e-4).mean() > 0.99


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
    run = predictor._run

    def record(packed):
        sizes.extend(tuple(one['inputs'].shape[1:]) for one in packed)
        return run(packed)

    predictor._run = record
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
    loader.imdecode_backend = 'pillow'
    cfg.dump(tmp_path / 'other.py')
    predictor = Predictor(tmp_path / 'other.py', checkpoint)
    assert next(predictor(pictures)).scores.shape
    with pytest.raises(ValueError, match=r'reads files only.*LoadImageFromFile'):
        next(predictor(np.zeros((32, 32, 3), np.uint8)))


@pytest.mark.cls
def test_pictures_that_cannot_be_read_are_skipped(work_dir, pictures, tmp_path):
    (tmp_path / 'b.png').write_bytes(b'')
    (tmp_path / 'a.png').write_bytes((pictures / '0.png').read_bytes())
    results = list(Predictor(work_dir('classifier'))(tmp_path))
    assert [result.file for result in results] == [str(tmp_path / 'a.png')]


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
